// SPDX-License-Identifier: Apache-2.0
#include "pool_fixtures.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "engine/reactor.hpp"
#include "engine/reactors.hpp"
#include "engine/thread_engine.hpp"
#include "engine/worker_pool.hpp"
#include "passing_reactor.hpp"

namespace pool_fixtures {

using engine::Completion;
using engine::Opcode;
using engine::Request;
using engine::Route;
using engine::ThreadEngine;
using engine::UniqueFd;
using std::chrono::milliseconds;

namespace {

struct Kind {
    std::string_view name;
    engine::WorkerPool::MakeReactor make_reactor = nullptr;
    Route transfers{};
};

Kind kind;

// Keeps reactors from coming to what happened.
class Gate {
public:
    void close() { set(true); }
    void open() { set(false); }

    void pass() {
        std::unique_lock lock(mutex_);
        ++waiting_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !is_closed_; });
        --waiting_;
    }

    // Until a reactor stands before it.
    void await_arrival(check::Where where = check::Where::current()) {
        std::unique_lock lock(mutex_);
        const bool arrived =
            changed_.wait_for(lock, check::patience, [this] { return waiting_ != 0; });
        check::is_true(arrived, "the reactor waits", where);
    }

private:
    void set(bool is_closed) {
        const std::lock_guard lock(mutex_);
        is_closed_ = is_closed;
        changed_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_closed_ = false;
    int waiting_ = 0;
};

Gate gate;
std::atomic<int> reactors = 0;

class GatedReactor final : public PassingReactor {
public:
    GatedReactor(engine::ReactorOwner& owner, int wake_fd)
        : PassingReactor(kind.make_reactor(owner, wake_fd)) {
        ++reactors;
    }
    GatedReactor(const GatedReactor&) = delete;
    GatedReactor& operator=(const GatedReactor&) = delete;
    ~GatedReactor() override { --reactors; }

    void wait(std::chrono::nanoseconds timeout) noexcept override {
        gate.pass();
        PassingReactor::wait(timeout);
    }
};

std::unique_ptr<engine::Reactor> make_gated_reactor(engine::ReactorOwner& owner,
                                                    int wake_fd) noexcept {
    return std::make_unique<GatedReactor>(owner, wake_fd);
}

int run_tests_of(const Kind& tested, std::initializer_list<check::Test> tests) {
    kind = tested;
    std::cout << kind.name << ":\n";
    return check::run(tests);
}

std::vector<Kind> all_kinds() {
    std::vector<Kind> kinds{{"epoll, and workers", engine::make_epoll_reactor, Route::workers}};
    if (fixtures::has_uring()) {
        kinds.push_back({"io_uring", engine::uring_reactor(), Route::reactor});
        kinds.push_back({"io_uring, and workers", engine::uring_reactor(), Route::workers});
    } else {
        std::cout << "skipped: no io_uring here\n";
    }
    return kinds;
}

}  // namespace

// --- the worker pools that are tested

int run_with_each_kind(std::initializer_list<check::Test> tests) {
    int status = EXIT_SUCCESS;
    for (const auto& tested : all_kinds()) {
        status = run_tests_of(tested, tests) == EXIT_SUCCESS ? status : EXIT_FAILURE;
    }
    return status;
}

std::unique_ptr<engine::Engine> open() {
    return std::make_unique<ThreadEngine>("pool", make_gated_reactor, kind.transfers);
}

bool has_workers() { return kind.transfers == Route::workers; }

int count_reactors() { return reactors; }

StoppedReactor::StoppedReactor(engine::Engine& engine) {
    gate.close();
    ready_.put_byte();
    check::equal(fixtures::submit(engine, poll_).taken, 1);
    gate.await_arrival();
}

void StoppedReactor::go_on() { gate.open(); }

// --- eventfds

UniqueFd make_eventfd(int flags) {
    return UniqueFd(fixtures::succeeded(eventfd(0, EFD_CLOEXEC | flags)));
}

bool is_readable(int fd, milliseconds time) {
    pollfd look{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&look, 1, static_cast<int>(time.count())) == 1;
}

std::uint64_t value_of(int eventfd) {
    eventfd_t value = 0;
    return eventfd_read(eventfd, &value) == 0 ? value : 0;
}

std::uint64_t signals_of(int eventfd, std::uint64_t expected) {
    std::uint64_t signals = 0;
    while (signals < expected && is_readable(eventfd)) {
        signals += value_of(eventfd);
    }
    return signals;
}

// --- files, requests and their results

Request sync_request(int fd, Opcode opcode) { return {{.opcode = opcode, .fd = fd}}; }

Request vector_request(Opcode opcode, int fd, std::span<iovec> parts, std::uint64_t offset) {
    return {{.opcode = opcode,
             .fd = fd,
             .offset = offset,
             .address = parts.data(),
             .length = parts.size()}};
}

iovec part_of(std::string& text, std::size_t offset, std::size_t size) {
    return {.iov_base = text.data() + offset, .iov_len = size};
}

std::string contents_of(int fd) {
    std::string text(64, '\0');
    text.resize(static_cast<std::size_t>(
        fixtures::succeeded(static_cast<int>(pread(fd, text.data(), text.size(), 0)))));
    return text;
}

engine::Submission submit_all(engine::Engine& engine, std::span<Request> requests) {
    const auto all = fixtures::addresses(requests);
    engine.plan(all, {});
    return engine.submit(all);
}

void nothing_more(engine::Engine& engine, check::Where where) {
    Completion none;
    check::equal(engine.reap({&none, 1}), 0, where);
}

std::int64_t result_of(engine::Engine& engine, const Request& request, check::Where where) {
    const auto completions = fixtures::reap(engine, 1);
    if (completions.size() != 1 || completions[0].request != &request) {
        check::fail("another request than expected, or none", where);
        return 0;
    }
    return completions[0].result;
}

void go_through_reactor(engine::Engine& engine, check::Where where) {
    const fixtures::Pipe ready;
    ready.put_byte();
    auto poll = fixtures::poll_request(ready.reader());
    check::equal(fixtures::complete(engine, poll, where), POLLIN, where);
}

void submit_to_wait(engine::Engine& engine, Request& request, check::Where where) {
    check::equal(fixtures::submit(engine, request).taken, 1, where);
    go_through_reactor(engine, where);
    nothing_more(engine, where);
}

Results results_of(engine::Engine& engine, std::size_t count, check::Where where) {
    Results results;
    for (const auto& completion : fixtures::reap(engine, count)) {
        const bool is_new = results.emplace(completion.request, completion.result).second;
        check::is_true(is_new, "it completes once", where);
    }
    check::equal(results.size(), count, where);
    nothing_more(engine, where);
    return results;
}

}  // namespace pool_fixtures
