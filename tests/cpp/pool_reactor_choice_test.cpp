// SPDX-License-Identifier: Apache-2.0
// Which reactor a worker pool has when the one it was to have can't be made or opened.
#include "engine/worker_pool.hpp"

#include <poll.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>

#include "check.hpp"
#include "engine/completion_queue.hpp"
#include "engine/engine.hpp"
#include "engine/reactor.hpp"
#include "engine/reactors.hpp"
#include "engine/request.hpp"
#include "fixtures.hpp"
#include "pool_fixtures.hpp"

namespace {

using engine::Completion;
using engine::Request;
using engine::Route;
using pool_fixtures::sync_request;
using std::chrono::milliseconds;

class RefusedReactor final : public engine::Reactor {
public:
    int open() noexcept override { return EPERM; }
    void start(Request& /*request*/) noexcept override { fail(); }
    void cancel(Request& /*request*/) noexcept override { fail(); }
    void wait(std::chrono::nanoseconds /*timeout*/) noexcept override { fail(); }
    void handle() noexcept override { fail(); }
    bool take_back(Request& /*request*/) noexcept override { return is_open(); }
    bool close_file(Request& /*request*/) noexcept override { return is_open(); }
    void look_for_unread() noexcept override {}

private:
    static void fail() { check::fail("it is not open"); }
    static bool is_open() {
        fail();
        return false;
    }
};

std::unique_ptr<engine::Reactor> make_refused_reactor(engine::ReactorOwner& /*owner*/,
                                                      int /*wake_fd*/) noexcept {
    return std::make_unique<RefusedReactor>();
}

std::unique_ptr<engine::Reactor> make_none(engine::ReactorOwner& /*owner*/,
                                           int /*wake_fd*/) noexcept {
    return nullptr;
}

// A worker pool that is closed in the end.
class OwnPool {
public:
    OwnPool(engine::WorkerPool::MakeReactor first, engine::WorkerPool::MakeReactor second)
        : pool_(std::make_shared<engine::WorkerPool>(first, second)) {}
    OwnPool(const OwnPool&) = delete;
    OwnPool& operator=(const OwnPool&) = delete;
    ~OwnPool() {
        pool_->leave(std::move(client_));
        pool_->close();
    }

    bool has_second_choice() const { return pool_->has_second_choice(); }

    std::int64_t complete(Request& request, Route route) {
        request.route = route;
        Request* const address = &request;
        check::equal(pool_->submit(*client_, {&address, 1}).taken, 1);
        const auto deadline = std::chrono::steady_clock::now() + check::patience;
        Completion completion;
        while (client_->completions.reap({&completion, 1}) == 0) {
            if (std::chrono::steady_clock::now() > deadline) {
                check::fail("it does not complete");
                return 0;
            }
            client_->completions.wait(client_->completions.ticket(), milliseconds(10));
        }
        return completion.result;
    }

private:
    std::unique_ptr<engine::PoolClient> client_ = std::make_unique<engine::PoolClient>();
    std::shared_ptr<engine::WorkerPool> pool_;
};

void test_the_second_choice() {
    for (const auto first : {make_refused_reactor, make_none}) {
        OwnPool pool(first, engine::make_epoll_reactor);
        const auto file = fixtures::memory_file("data");
        auto poll = fixtures::poll_request(file.get());
        check::equal(pool.complete(poll, Route::reactor), POLLIN);
        check::is_true(pool.has_second_choice(), "the first was refused");
        // what epoll can't do, workers do
        auto sync = sync_request(file.get());
        check::equal(pool.complete(sync, Route::reactor), 0);
    }
}

void test_no_reactor() {
    OwnPool pool(make_refused_reactor, nullptr);
    const auto file = fixtures::memory_file("data");
    auto poll = fixtures::poll_request(file.get());
    check::equal(pool.complete(poll, Route::reactor), -EPERM);
    auto sync = sync_request(file.get());
    check::equal(pool.complete(sync, Route::workers), 0);
}

}  // namespace

int main() {
    return check::run({
        {"the second choice of a reactor", test_the_second_choice},
        {"no reactor", test_no_reactor},
    });
}
