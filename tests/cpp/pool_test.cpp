// SPDX-License-Identifier: Apache-2.0
// Threads of ours, with each reactor: every request completes exactly once, with its own result,
// and signals its eventfd once, whoever asks for it and whoever reaps it.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"
#include "pool_fixtures.hpp"

namespace {

using engine::Completion;
using engine::Opcode;
using engine::Request;
using engine::UniqueFd;
using pool_fixtures::contents_of;
using pool_fixtures::go_through_reactor;
using pool_fixtures::is_readable;
using pool_fixtures::make_eventfd;
using pool_fixtures::nothing_more;
using pool_fixtures::open;
using pool_fixtures::part_of;
using pool_fixtures::result_of;
using pool_fixtures::results_of;
using pool_fixtures::signals_of;
using pool_fixtures::StoppedReactor;
using pool_fixtures::submit_all;
using pool_fixtures::sync_request;
using pool_fixtures::value_of;
using pool_fixtures::vector_request;

// --- results

void test_reads_and_writes() {
    const auto engine = open();
    const auto file = fixtures::memory_file("0123456789");
    std::string buffer(8, '.');
    auto read = fixtures::read_request(file.get(), buffer, 1);
    read.priority = (2U << 13U) | 4U;  // best effort
    check::equal(fixtures::complete(*engine, read), 8);
    check::equal(buffer, "12345678");
    auto short_read = fixtures::read_request(file.get(), buffer, 7);
    short_read.rw_flags = RWF_HIPRI;  // which is ignored
    check::equal(fixtures::complete(*engine, short_read), 3);
    check::equal(buffer, "78945678");
    auto at_end = fixtures::read_request(file.get(), buffer, 10);
    check::equal(fixtures::complete(*engine, at_end), 0);
    auto write = fixtures::write_request(file.get(), "abc", 9);
    check::equal(fixtures::complete(*engine, write), 3);
    check::equal(contents_of(file.get()), "012345678abc");
    nothing_more(*engine);
}

void test_vectors() {
    const auto engine = open();
    const auto file = fixtures::memory_file("0123456789");
    std::string buffer(8, '.');
    std::array parts{part_of(buffer, 5, 3), part_of(buffer, 0, 2)};
    auto read = vector_request(Opcode::readv, file.get(), parts, 4);
    check::equal(fixtures::complete(*engine, read), 5);
    check::equal(buffer, "78...456");
    auto write = vector_request(Opcode::writev, file.get(), parts, 8);
    check::equal(fixtures::complete(*engine, write), 5);
    check::equal(contents_of(file.get()), "0123456745678");
}

void test_syncs() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    const fixtures::Pipe pipe;
    for (const auto opcode : {Opcode::fsync, Opcode::fdsync}) {
        auto sync = sync_request(file.get(), opcode);
        check::equal(fixtures::complete(*engine, sync), 0);
        auto of_pipe = sync_request(pipe.writer(), opcode);
        check::equal(fixtures::complete(*engine, of_pipe), -EINVAL);
    }
}

void test_polls() {
    const auto engine = open();
    const fixtures::Pipe pipe;
    std::array polls{fixtures::poll_request(pipe.reader()), fixtures::poll_request(pipe.reader())};
    check::equal(submit_all(*engine, polls).taken, 2);
    go_through_reactor(*engine);
    nothing_more(*engine);
    pipe.put_byte();
    for (const auto& [request, result] : results_of(*engine, 2)) {
        check::equal(result, POLLIN);
    }
    const auto file = fixtures::memory_file("data");
    auto of_file = fixtures::poll_request(file.get());
    check::equal(fixtures::complete(*engine, of_file), POLLIN);
}

class Sockets {
public:
    Sockets() {
        std::array<int, 2> ends{};
        fixtures::succeeded(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()));
        near_ = UniqueFd(ends[0]);
        far_ = UniqueFd(ends[1]);
    }
    int near_end() const { return near_.get(); }
    int far_end() const { return far_.get(); }
    void close_far_end() { const UniqueFd closed = std::move(far_); }

private:
    UniqueFd near_;
    UniqueFd far_;
};

// What the kernel may report, but nobody asked for, does not end a poll.
void test_polls_of_what_does_not_come() {
    const auto engine = open();
    Sockets sockets;
    auto poll = fixtures::poll_request(sockets.near_end());
    poll.poll_events = POLLPRI;
    check::equal(fixtures::submit(*engine, poll).taken, 1);
    fixtures::put(sockets.far_end(), "x");
    fixtures::succeeded(shutdown(sockets.far_end(), SHUT_WR));
    go_through_reactor(*engine);
    go_through_reactor(*engine);
    nothing_more(*engine);
    auto other = poll;
    check::equal(fixtures::submit(*engine, other).taken, 1);
    go_through_reactor(*engine);
    check::is_true(engine->cancel(other), "the other is in flight");
    check::equal(result_of(*engine, other), -ECANCELED);
    sockets.close_far_end();
    check::equal(result_of(*engine, poll), POLLHUP);
    nothing_more(*engine);
}

// One's event is not the other's.
void test_polls_of_one_file_for_different_events() {
    const auto engine = open();
    const Sockets sockets;
    std::array polls{fixtures::poll_request(sockets.near_end()),
                     fixtures::poll_request(sockets.near_end())};
    auto& [urgent, in] = polls;
    urgent.poll_events = POLLPRI;
    check::equal(submit_all(*engine, polls).taken, 2);
    go_through_reactor(*engine);
    nothing_more(*engine);
    fixtures::put(sockets.far_end(), "x");
    check::equal(result_of(*engine, in), POLLIN);
    go_through_reactor(*engine);
    nothing_more(*engine);
    check::is_true(engine->cancel(urgent), "it is in flight");
    check::equal(result_of(*engine, urgent), -ECANCELED);
}

void test_streams() {
    const auto engine = open();
    const fixtures::Pipe pipe;
    std::string buffer(4, '.');
    auto read = fixtures::read_request(pipe.reader(), buffer);
    pool_fixtures::submit_to_wait(*engine, read);
    auto write = fixtures::write_request(pipe.writer(), "ab");
    check::equal(fixtures::submit(*engine, write).taken, 1);
    const auto results = results_of(*engine, 2);
    check::equal(results.at(&read), 2);
    check::equal(results.at(&write), 2);
    check::equal(buffer, "ab..");
    fixtures::succeeded(fcntl(pipe.reader(), F_SETFL, O_NONBLOCK));
    pool_fixtures::submit_to_wait(*engine, read);
    fixtures::put(pipe.writer(), "gh");
    check::equal(result_of(*engine, read), 2);
    read.rw_flags = RWF_NOWAIT;
    check::equal(fixtures::complete(*engine, read), -EAGAIN);
    read.rw_flags = 0;
    read.offset = 100;  // there are no offsets in a stream
    check::equal(fixtures::complete(*engine, read), -ESPIPE);
    write.offset = 100;
    check::equal(fixtures::complete(*engine, write), -ESPIPE);
    Sockets sockets;
    fixtures::put(sockets.far_end(), "cd");
    auto receive = fixtures::read_request(sockets.near_end(), buffer);
    check::equal(fixtures::complete(*engine, receive), 2);
    check::equal(buffer, "cd..");
    sockets.close_far_end();
    auto send = fixtures::write_request(sockets.near_end(), "ef");
    check::equal(fixtures::complete(*engine, send), -EPIPE);
}

// --- refusals

void test_what_is_refused_at_once() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    const auto signal = make_eventfd();
    auto bad = sync_request(-1);
    check::equal(fixtures::complete(*engine, bad), -EBADF);
    auto bad_eventfd = sync_request(file.get());
    bad_eventfd.eventfd = file.get();
    const auto refused = fixtures::submit(*engine, bad_eventfd);
    check::equal(refused.taken, 0);
    check::equal(refused.error, EINVAL);
    std::array batch{sync_request(file.get()), sync_request(-1), sync_request(file.get())};
    for (auto& request : batch) {
        request.eventfd = signal.get();
    }
    const auto half = submit_all(*engine, batch);
    check::equal(half.taken, 1);
    check::equal(half.error, 0);
    check::equal(result_of(*engine, batch[0]), 0);
    check::equal(signals_of(signal.get(), 1), 1);
    check::equal(fixtures::complete(*engine, batch[2]), 0);
    nothing_more(*engine);
}

void test_a_file_of_the_wrong_mode() {
    const auto engine = open();
    const UniqueFd file(fixtures::succeeded(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
    auto write = fixtures::write_request(file.get(), "x");
    check::equal(fixtures::complete(*engine, write), -EBADF);
    const fixtures::Pipe pipe;
    auto read = fixtures::write_request(pipe.reader(), "x");
    check::equal(fixtures::complete(*engine, read), -EBADF);
}

// --- signals

void reap_after_signals(engine::Engine& engine, int eventfd, std::size_t count) {
    std::vector<Completion> completions(count);
    std::uint64_t signalled = 0;
    std::size_t reaped = 0;
    while (signalled < count && is_readable(eventfd)) {
        signalled += value_of(eventfd);
        reaped += engine.reap(completions);
        check::is_true(reaped >= signalled, "what was signalled can be reaped");
    }
    check::equal(signalled, count);
    check::equal(reaped, count);
}

void test_completions_come_before_their_signals() {
    const auto engine = open();
    const std::string contents(8, 'x');
    const auto file = fixtures::memory_file(contents);
    const auto signal = make_eventfd();
    std::string buffer(contents.size(), '.');
    for (std::size_t round = 0; round < 600; ++round) {
        auto requests = fixtures::byte_reads(file.get(), std::span(buffer).first(1 + round % 8));
        for (auto& request : requests) {
            request.eventfd = signal.get();
            request.is_brief = round % 3 == 0;
        }
        check::equal(submit_all(*engine, requests).taken, requests.size());
        reap_after_signals(*engine, signal.get(), requests.size());
    }
    nothing_more(*engine);
}

// More of them than are remembered to be signalled together.
void test_many_eventfds() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    std::vector<UniqueFd> signals;
    std::vector<Request> requests;
    for (int i = 0; i < 150; ++i) {
        signals.push_back(make_eventfd());
        for (int twice = 0; twice < 2; ++twice) {
            requests.push_back(fixtures::poll_request(file.get()));
            requests.back().eventfd = signals.back().get();
        }
    }
    {
        const StoppedReactor stopped(*engine);
        check::equal(submit_all(*engine, requests).taken, requests.size());
        StoppedReactor::go_on();
        results_of(*engine, requests.size() + 1);
    }
    for (const auto& signal : signals) {
        check::equal(signals_of(signal.get(), 2), 2);
    }
}

// --- who asks for it may be gone

void test_a_thread_that_ends_at_once() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    const fixtures::Pipe pipe;
    std::string buffer(5, '.');
    std::array requests{fixtures::read_request(file.get(), std::span(buffer).first(4)),
                        fixtures::read_request(pipe.reader(), std::span(buffer).subspan(4)),
                        fixtures::poll_request(pipe.reader())};
    std::thread([&] { check::equal(submit_all(*engine, requests).taken, 3); }).join();
    check::equal(result_of(*engine, requests[0]), 4);
    fixtures::put(pipe.writer(), "xy");
    const auto results = results_of(*engine, 2);
    check::equal(results.at(&requests[1]), 1);
    check::equal(results.at(&requests[2]), POLLIN);
    check::equal(buffer, "datax");
}

// Once it was reaped, it is the program's again.
void test_requests_that_are_freed_at_once() {
    constexpr std::size_t count = 1500;
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    const auto signal = make_eventfd();
    auto reaped = std::async(std::launch::async, [&] {
        std::size_t sum = 0;
        for (std::size_t i = 0; i < count; ++i) {
            for (const auto& completion : fixtures::reap(*engine, 1)) {
                const std::unique_ptr<Request> gone(completion.request);
                sum += completion.result == 0 ? 1 : 0;
            }
        }
        return sum;
    });
    for (std::size_t i = 0; i < count; ++i) {
        auto request = std::make_unique<Request>(sync_request(file.get()));
        request->eventfd = signal.get();
        request->is_brief = i % 2 == 0;
        check::equal(fixtures::submit(*engine, *request.release()).taken, 1);
    }
    check::equal(check::get(reaped), count);
    check::equal(signals_of(signal.get(), count), count);
}

}  // namespace

int main() {
    return pool_fixtures::run_with_each_kind({
        {"reads and writes", test_reads_and_writes},
        {"vectors", test_vectors},
        {"syncs", test_syncs},
        {"polls", test_polls},
        {"polls of what does not come", test_polls_of_what_does_not_come},
        {"polls of one file for different events", test_polls_of_one_file_for_different_events},
        {"streams", test_streams},
        {"what is refused at once", test_what_is_refused_at_once},
        {"a file of the wrong mode", test_a_file_of_the_wrong_mode},
        {"completions come before their signals", test_completions_come_before_their_signals},
        {"many eventfds", test_many_eventfds},
        {"a thread that ends at once", test_a_thread_that_ends_at_once},
        {"requests that are freed at once", test_requests_that_are_freed_at_once},
    });
}
