// SPDX-License-Identifier: Apache-2.0
#include "python/submission.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <memory_resource>
#include <new>
#include <vector>

#include "python/completion.hpp"
#include "python/errors.hpp"
#include "python/gil.hpp"

namespace python {
namespace {

// One operation on its way in, with what it takes to leave it untouched if it is not taken.
struct Candidate {
    OperationObject* operation = nullptr;
    State state_before{};
    Listing listing_before{};
    int eventfd_number = -1;
    // What is not the operation's: before it is listed what it is to get, then what it had.
    Ref context;
    Ref eventfd;
};

// A submission runs in steps: claim the operations, so that no other thread can; make their memory
// and fds ready, which may run any Python code; list as many as there is room for as in flight, and
// hand them to the engine, between which nothing else runs; withdraw those that it did not take.
class Batch {
public:
    Batch(ContextObject* context, std::span<PyObject* const> operations)
        : context_(context), memory_(buffer_.data(), buffer_.size()), candidates_(&memory_) {
        candidates_.reserve(operations.size());
        requests_.reserve(operations.size());
    }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    ~Batch() {
        for (auto& candidate : candidates_) {
            unclaim(candidate);
        }
    }

    // False with a ValueError if one is in flight, or comes twice.
    bool claim(std::span<PyObject* const> operations);

    // False with an exception set if one can't be submitted as it is.
    bool prepare(PyObject* eventfd);

    // How many were taken, or -1 with an exception set.
    Py_ssize_t submit();

private:
    bool prepare(Candidate& candidate, PyObject* eventfd);
    void enlist(Candidate& candidate, engine::Pace pace);
    void withdraw(Candidate& candidate);
    void unclaim(Candidate& candidate);
    engine::Submission hand_over(std::size_t count);
    int own_eventfd(engine::Pace pace) const;

    ContextObject* context_;
    std::array<std::byte, 2048> buffer_;
    std::pmr::monotonic_buffer_resource memory_;
    std::pmr::vector<Candidate> candidates_;
    std::pmr::vector<engine::Request*> requests_{&memory_};
};

bool Batch::claim(std::span<PyObject* const> operations) {
    for (auto* object : operations) {
        auto* operation = static_cast<OperationObject*>(object);
        const ObjectLock lock(operation);
        const auto state = operation->state;
        if (state == State::submitting || state == State::in_flight) {
            PyErr_Format(PyExc_ValueError, "%R is in flight already, or twice in this batch",
                         object);
            return false;
        }
        operation->state = State::submitting;
        candidates_.push_back({.operation = static_cast<OperationObject*>(Py_NewRef(operation)),
                               .state_before = state,
                               .listing_before = operation->listing});
        if (operation->listing != Listing::none) {
            forget(context_of(operation), operation);  // its last result; with it goes its place
        }
    }
    return true;
}

bool Batch::prepare(PyObject* eventfd) {
    // The memory of reads comes last: it depends on the fds, and all of this may change those.
    return std::ranges::all_of(candidates_,
                               [&](Candidate& candidate) { return prepare(candidate, eventfd); }) &&
           std::ranges::all_of(candidates_, [](const Candidate& candidate) {
               auto& operation = *candidate.operation;
               return operation.kind != Kind::read || prepare_landing(operation);
           });
}

bool Batch::prepare(Candidate& candidate, PyObject* eventfd) {
    auto* operation = candidate.operation;
    PyObject* to_signal = eventfd != nullptr ? eventfd : operation->eventfd.get();
    if (to_signal != nullptr) {
        const auto number = eventfd_number(state_of(context_), to_signal);
        if (!number) {
            return false;
        }
        candidate.eventfd_number = *number;
    }
    candidate.context = Ref::borrow(context_);
    candidate.eventfd = Ref::borrow(to_signal);
    const auto fd = operation->file.ask();
    if (!fd) {
        return false;
    }
    operation->request.fd = *fd;
    return !has_payload(operation->kind) || prepare_payload(*operation);
}

Py_ssize_t Batch::submit() {
    for (;;) {
        // prepare(), or a signal's handler, may have closed it
        if (!check_usable(context_)) {
            return -1;
        }
        const auto count = std::min(candidates_.size(), context_->room());
        if (count == 0 && !candidates_.empty()) {
            raise_queue_full(candidates_.front().operation, context_->max_requests);
            return -1;
        }
        const auto [taken, error] = hand_over(count);
        if (error == EINTR) {
            if (PyErr_CheckSignals() != 0) {
                return -1;
            }
            continue;
        }
        if (error != 0) {
            raise_operation_error(candidates_.front().operation, error);
            return -1;
        }
        return static_cast<Py_ssize_t>(taken);
    }
}

engine::Submission Batch::hand_over(std::size_t count) {
    auto& engine = *context_->engine;
    const auto chosen = std::span(candidates_).first(count);
    requests_.clear();
    bool may_block = false;
    const engine::Request* unknown = nullptr;
    for (auto& candidate : chosen) {
        auto& request = candidate.operation->request;
        const auto pace = engine.expect(request);
        enlist(candidate, pace);
        requests_.push_back(&request);
        may_block = may_block || engine::may_block(pace);
        unknown = pace == engine::Pace::unknown ? &request : unknown;
    }
    engine::Submission submission;
    if (may_block) {
        ++context_->threads_inside;
        context_->unconfirmed += count;
        {
            const GilRelease release;
            if (unknown != nullptr) {
                engine.learn(*unknown);
            }
            submission = engine.submit(requests_);
        }
        context_->unconfirmed -= count;
        --context_->threads_inside;
    } else {
        submission = engine.submit(requests_);
    }
    auto& statistics = context_->statistics;
    ++statistics.submissions;
    statistics.submitted += submission.taken;
    statistics.short_submissions += submission.taken < count ? 1 : 0;
    for (auto& candidate : chosen.subspan(submission.taken)) {
        withdraw(candidate);
    }
    // Those that were taken may have completed, and more, by now: they are not ours any more.
    for (auto& candidate : chosen.first(submission.taken)) {
        Py_CLEAR(candidate.operation);
    }
    return submission;
}

// The number of the context's own eventfd, for an operation that signals no other. The kernel is
// spared the work where the operation will be over when the submission returns.
int Batch::own_eventfd(engine::Pace pace) const {
    const bool needed = context_->eventfd_is_watched || !engine::ends_inside(pace);
    return needed ? context_->eventfd.get() : -1;
}

void Batch::enlist(Candidate& candidate, engine::Pace pace) {
    auto* operation = candidate.operation;
    swap(operation->context, candidate.context);
    swap(operation->eventfd, candidate.eventfd);
    operation->request.eventfd =
        operation->eventfd ? candidate.eventfd_number : own_eventfd(pace);
    operation->state = State::in_flight;
    operation->listing = Listing::in_flight;
    context_->in_flight.push_back(static_cast<OperationObject*>(Py_NewRef(operation)));
    context_->to_be_kept += operation->eventfd ? 0 : 1;
    context_->unsignalled += operation->request.eventfd < 0 ? 1 : 0;
}

void Batch::withdraw(Candidate& candidate) {
    auto* operation = candidate.operation;
    context_->in_flight.remove(operation);
    context_->to_be_kept -= operation->eventfd ? 0 : 1;
    context_->unsignalled -= operation->request.eventfd < 0 ? 1 : 0;
    operation->state = State::submitting;
    operation->listing = Listing::none;
    swap(operation->context, candidate.context);
    swap(operation->eventfd, candidate.eventfd);
    Py_DECREF(operation);  // the list's; the candidate has one
}

void Batch::unclaim(Candidate& candidate) {
    if (candidate.operation == nullptr) {
        return;
    }
    candidate.operation->state = candidate.state_before;
    if (candidate.listing_before != Listing::none) {
        remember(context_of(candidate.operation), candidate.operation, candidate.listing_before);
    }
    let_go(candidate.operation);
    Py_DECREF(candidate.operation);
}

}  // namespace

Py_ssize_t submit(ContextObject* context, std::span<PyObject* const> operations,
                  PyObject* eventfd) {
    const ObjectLock lock(context);
    if (!check_usable(context)) {
        return -1;
    }
    reap(context);
    try {
        Batch batch(context, operations);
        if (!batch.claim(operations) || !batch.prepare(eventfd)) {
            return -1;
        }
        return batch.submit();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
        return -1;
    }
}

}  // namespace python
