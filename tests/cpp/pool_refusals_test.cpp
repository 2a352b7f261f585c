// SPDX-License-Identifier: Apache-2.0
// System calls that are refused to our threads: what they have of a request is the call's error, or
// another way is gone.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "check.hpp"
#include "engine/reactors.hpp"
#include "engine/request.hpp"
#include "engine/thread_engine.hpp"
#include "engine/unique_fd.hpp"
#include "engine/worker_pool.hpp"
#include "few_numbers.hpp"
#include "fixtures.hpp"
#include "passing_reactor.hpp"
#include "pool_fixtures.hpp"
#include "sandbox.hpp"

namespace {

using engine::Opcode;
using engine::Reactor;
using engine::ReactorOwner;
using engine::Route;
using engine::ThreadEngine;
using engine::UniqueFd;
using pool_fixtures::part_of;
using pool_fixtures::result_of;
using pool_fixtures::vector_request;

// A worker pool whose threads are refused what this refuses, from the reactor's first step on.
template <auto refuse>
std::unique_ptr<engine::Engine> open(Route route = Route::workers) {
    return std::make_unique<ThreadEngine>(
        "pool",
        [](ReactorOwner& owner, int wake_fd) noexcept -> std::unique_ptr<Reactor> {
            refuse();
            return engine::make_epoll_reactor(owner, wake_fd);
        },
        route);
}

void refuse_threads() {
#ifdef __NR_clone3
    sandbox::refuse(__NR_clone3, EAGAIN);
#endif
    sandbox::refuse(__NR_clone, EAGAIN);
}

// The reactor's thread does what is there to do.
void test_no_workers() {
    const auto engine = open<refuse_threads>();
    const auto file = fixtures::memory_file("data");
    std::string buffer(4, '.');
    auto read = fixtures::read_request(file.get(), buffer);
    check::equal(fixtures::complete(*engine, read), 4);
    check::equal(buffer, "data");
    auto poll = fixtures::poll_request(file.get());
    check::equal(fixtures::complete(*engine, poll), POLLIN);
}

// As kernels do on which not all files know the flag.
void refuse_nowait() {
    sandbox::refuse_if(__NR_preadv2, 5, RWF_NOWAIT, EOPNOTSUPP);
    sandbox::refuse_if(__NR_pwritev2, 5, RWF_NOWAIT, EOPNOTSUPP);
}

void test_sockets_without_nowait() {
    const auto engine = open<refuse_nowait>();
    std::array<int, 2> ends{};
    fixtures::succeeded(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()));
    const UniqueFd near(ends[0]);
    UniqueFd far(ends[1]);
    std::string text = "hello world";
    auto write = fixtures::write_request(near.get(), "hello");
    check::equal(fixtures::complete(*engine, write), 5);
    std::array parts{part_of(text, 5, 1), part_of(text, 6, 5)};
    auto writev = vector_request(Opcode::writev, near.get(), parts, 0);
    check::equal(fixtures::complete(*engine, writev), 6);
    std::string buffer(11, '.');
    auto read = fixtures::read_request(far.get(), std::span(buffer).first(4));
    check::equal(fixtures::complete(*engine, read), 4);
    std::array into{part_of(buffer, 4, 1), part_of(buffer, 5, 6)};
    auto readv = vector_request(Opcode::readv, far.get(), into, 0);
    check::equal(fixtures::complete(*engine, readv), 7);
    check::equal(buffer, text);
    auto late = fixtures::read_request(far.get(), std::span(buffer).first(2));
    pool_fixtures::submit_to_wait(*engine, late);
    fixtures::put(near.get(), "ab");
    check::equal(result_of(*engine, late), 2);
    check::equal(buffer, "abllo world");
    {
        const UniqueFd closed = std::move(far);
    }
    check::equal(fixtures::complete(*engine, write), -EPIPE);  // and no signal
}

void test_pipes_without_nowait() {
    const auto engine = open<refuse_nowait>();
    const fixtures::Pipe pipe;
    std::string buffer(4, '.');
    auto read = fixtures::read_request(pipe.reader(), buffer);
    pool_fixtures::submit_to_wait(*engine, read);
    auto write = fixtures::write_request(pipe.writer(), "abc");
    check::equal(fixtures::submit(*engine, write).taken, 1);
    const auto results = pool_fixtures::results_of(*engine, 2);
    check::equal(results.at(&read), 3);
    check::equal(results.at(&write), 3);
    check::equal(buffer, "abc.");
}

// Watches nothing but what wakes it.
template <int error>
class RefusedWatches final : public PassingReactor {
public:
    RefusedWatches(ReactorOwner& owner, int wake_fd)
        : PassingReactor(engine::make_epoll_reactor(owner, wake_fd)) {}

    int open() noexcept override {
        const int failure = PassingReactor::open();
        sandbox::refuse(__NR_epoll_ctl, error);
        return failure;
    }
};

template <int error>
std::unique_ptr<engine::Engine> open_without_watches() {
    return std::make_unique<ThreadEngine>(
        "pool",
        [](ReactorOwner& owner, int wake_fd) noexcept -> std::unique_ptr<Reactor> {
            return std::make_unique<RefusedWatches<error>>(owner, wake_fd);
        },
        Route::reactor);
}

// Of which reads can't be tried.
struct Terminal {
    UniqueFd far{fixtures::succeeded(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC))};
    UniqueFd near;

    Terminal() {
        fixtures::succeeded(grantpt(far.get()));
        fixtures::succeeded(unlockpt(far.get()));
        near = UniqueFd(
            fixtures::succeeded(::open(ptsname(far.get()), O_RDWR | O_NOCTTY | O_CLOEXEC)));
        termios settings{};
        fixtures::succeeded(tcgetattr(near.get(), &settings));
        cfmakeraw(&settings);
        fixtures::succeeded(tcsetattr(near.get(), TCSANOW, &settings));
    }
};

void test_no_worker_for_what_can_not_be_tried() {
    const auto engine = open<refuse_threads>(Route::reactor);
    const Terminal terminal;
    std::string buffer(2, '.');
    for (int i = 0; i < 3; ++i) {
        auto read = fixtures::read_request(terminal.near.get(), std::span(buffer).first(1));
        auto other = fixtures::read_request(terminal.near.get(), std::span(buffer).last(1));
        pool_fixtures::submit_to_wait(*engine, read);
        pool_fixtures::submit_to_wait(*engine, other);
        fixtures::put(terminal.far.get(), "ab");
        const auto results = pool_fixtures::results_of(*engine, 2);
        check::equal(results.at(&read), 1);
        check::equal(results.at(&other), 1);
        check::equal(buffer == "ab" || buffer == "ba", true);
    }
}

// As /proc/sys/fs/epoll/max_user_watches does it.
void test_no_more_watches() {
    const auto engine = open_without_watches<ENOSPC>();
    const fixtures::Pipe pipe;
    auto poll = fixtures::poll_request(pipe.reader());
    check::equal(fixtures::complete(*engine, poll), -ENOSPC);
    std::string buffer(4, '.');
    auto read = fixtures::read_request(pipe.reader(), buffer);
    check::equal(fixtures::complete(*engine, read), -ENOSPC);
    fixtures::put(pipe.writer(), "abc");
    check::equal(fixtures::complete(*engine, read), 3);
}

// A worker waits for what can't be watched.
void test_streams_that_can_not_be_watched() {
    const auto engine = open_without_watches<EPERM>();
    const fixtures::Pipe pipe;
    std::string buffer(4, '.');
    auto read = fixtures::read_request(pipe.reader(), buffer);
    pool_fixtures::submit_to_wait(*engine, read);
    fixtures::put(pipe.writer(), "abc");
    check::equal(result_of(*engine, read), 3);
    check::equal(buffer, "abc.");
}

std::int64_t complete_beside_others(engine::Engine& engine, engine::Request& request) {
    return fixtures::beside_others([&] { return fixtures::complete(engine, request); });
}

void test_no_room_in_our_table() {
    if (fixtures::is_in_valgrind()) {
        throw check::Skipped("no limit of numbers that the kernel knows of");
    }
    const auto engine = open<[] {}>();
    const auto known = fixtures::memory_file("known");
    const auto file = fixtures::memory_file("data");
    std::string buffer(4, '.');
    auto first = fixtures::read_request(known.get(), buffer);
    check::equal(fixtures::complete(*engine, first), 4);
    auto read = fixtures::read_request(file.get(), buffer);
    auto poll = fixtures::poll_request(file.get());
    {
        const FewNumbers none(3);
        check::equal(complete_beside_others(*engine, read), -EMFILE);
        check::equal(complete_beside_others(*engine, poll), -EMFILE);
    }
    check::equal(fixtures::complete(*engine, read), 4);
    check::equal(buffer, "data");
    check::equal(fixtures::complete(*engine, poll), POLLIN);
}

}  // namespace

int main() {
    return check::run({
        {"no worker for what can't be tried", test_no_worker_for_what_can_not_be_tried},
        {"no workers", test_no_workers},
        {"sockets without RWF_NOWAIT", test_sockets_without_nowait},
        {"pipes without RWF_NOWAIT", test_pipes_without_nowait},
        {"no more watches", test_no_more_watches},
        {"streams that can't be watched", test_streams_that_can_not_be_watched},
        {"no room in our table", test_no_room_in_our_table},
    });
}
