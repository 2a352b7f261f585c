// SPDX-License-Identifier: Apache-2.0
#include "faulty_libaio.hpp"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <mutex>
#include <vector>

namespace faulty_libaio {
namespace {

struct Account {
    long count = 0;
    std::vector<Fault> faults;
};

std::mutex mutex;  // for the accounts; held for short, never across a call
std::array<Account, call_names.size()> accounts;
libaio::Calls real;

Account& account_of(Call call) { return accounts[static_cast<std::size_t>(call)]; }

// What this call is to suffer.
Fault next_fault(Call call) {
    const std::lock_guard lock(mutex);
    auto& [count, faults] = account_of(call);
    ++count;
    if (faults.empty()) {
        return {};
    }
    auto& first = faults.front();
    if (first.after > 0) {
        --first.after;
        return {};
    }
    const Fault fault = first;
    if (fault.times != for_ever) {
        --first.times;
    }
    if (first.times == 0) {
        faults.erase(faults.begin());
    }
    return fault;
}

Fault meet_fault(Call call) {
    const Fault fault = next_fault(call);
    if (fault.signal != 0) {
        raise(fault.signal);
    }
    return fault;
}

long limited(long count, const Fault& fault) {
    return fault.at_most == no_limit ? count : std::min<long>(count, fault.at_most);
}

int setup(int max_events, io_context_t* context) {
    const auto fault = meet_fault(Call::setup);
    return fault.error != 0 ? -fault.error : real.setup(max_events, context);
}

int destroy(io_context_t context) {
    const auto fault = meet_fault(Call::destroy);
    return fault.error != 0 ? -fault.error : real.destroy(context);
}

int submit(io_context_t context, long count, iocb** requests) {
    if (requests == nullptr && count == 0) {
        return real.submit(context, 0, nullptr);  // which only asks whether it may be called
    }
    const auto fault = meet_fault(Call::submit);
    return fault.error != 0 ? -fault.error : real.submit(context, limited(count, fault), requests);
}

int cancel(io_context_t context, iocb* request, io_event* event) {
    const auto fault = meet_fault(Call::cancel);
    return fault.error != 0 ? -fault.error : real.cancel(context, request, event);
}

int getevents(io_context_t context, long min_nr, long nr, io_event* events, timespec* timeout) {
    const auto fault = meet_fault(Call::getevents);
    return fault.error != 0 ? -fault.error
                            : real.getevents(context, limited(min_nr, fault), limited(nr, fault),
                                             events, timeout);
}

}  // namespace

void install(libaio::Calls& table) {
    if (table.submit == submit) {
        return;
    }
    real = table;
    table = {.setup = setup,
             .destroy = destroy,
             .submit = submit,
             .cancel = cancel,
             .getevents = getevents};
}

void inject(Call call, Fault fault) {
    const std::lock_guard lock(mutex);
    account_of(call).faults.push_back(fault);
}

void clear() {
    const std::lock_guard lock(mutex);
    accounts = {};
}

long count(Call call) {
    const std::lock_guard lock(mutex);
    return account_of(call).count;
}

std::optional<Call> call_named(std::string_view name) {
    const auto* found = std::ranges::find(call_names, name);
    if (found == call_names.end()) {
        return std::nullopt;
    }
    return static_cast<Call>(std::distance(call_names.begin(), found));
}

}  // namespace faulty_libaio
