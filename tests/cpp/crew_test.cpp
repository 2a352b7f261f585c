// SPDX-License-Identifier: Apache-2.0
// Threads of ours, with each reactor: every request completes exactly once, with its own result,
// and signals its eventfd once, whatever becomes of the threads meanwhile.
#include "engine/crew.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/crew_engine.hpp"
#include "engine/engine.hpp"
#include "engine/reactor.hpp"
#include "engine/reactors.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::Completion;
using engine::CrewEngine;
using engine::Opcode;
using engine::Request;
using engine::Route;
using engine::UniqueFd;
using std::chrono::milliseconds;

// --- the crews that are tested

struct Kind {
    std::string_view name;
    engine::Crew::MakeReactor make_reactor = nullptr;
    Route transfers{};
};

Kind kind;

bool has_workers() { return kind.transfers == Route::workers; }

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

class GatedReactor final : public engine::Reactor {
public:
    GatedReactor(engine::ReactorOwner& owner, int wake_fd)
        : real_(kind.make_reactor(owner, wake_fd)) {
        ++reactors;
    }
    GatedReactor(const GatedReactor&) = delete;
    GatedReactor& operator=(const GatedReactor&) = delete;
    ~GatedReactor() override { --reactors; }

    int open() noexcept override { return real_->open(); }
    void start(Request& request) noexcept override { real_->start(request); }
    void cancel(engine::Cancellation& cancellation) noexcept override {
        real_->cancel(cancellation);
    }
    void wait(std::chrono::nanoseconds timeout) noexcept override {
        gate.pass();
        real_->wait(timeout);
    }
    void handle() noexcept override { real_->handle(); }
    void close_file(int fd) noexcept override { real_->close_file(fd); }

private:
    std::unique_ptr<engine::Reactor> real_;
};

std::unique_ptr<engine::Reactor> make_gated_reactor(engine::ReactorOwner& owner,
                                                    int wake_fd) noexcept {
    return std::make_unique<GatedReactor>(owner, wake_fd);
}

std::unique_ptr<engine::Engine> open() {
    return std::make_unique<CrewEngine>("crew", make_gated_reactor, kind.transfers);
}

// --- files, requests and their results

UniqueFd make_eventfd(int flags = EFD_NONBLOCK) {
    return UniqueFd(fixtures::succeeded(eventfd(0, EFD_CLOEXEC | flags)));
}

bool is_readable(int fd, milliseconds time = check::patience) {
    pollfd look{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&look, 1, static_cast<int>(time.count())) == 1;
}

std::uint64_t value_of(int eventfd) {
    eventfd_t value = 0;
    return eventfd_read(eventfd, &value) == 0 ? value : 0;
}

// What an eventfd was told, once it is as much as is expected.
std::uint64_t signals_of(int eventfd, std::uint64_t expected) {
    std::uint64_t signals = 0;
    while (signals < expected && is_readable(eventfd)) {
        signals += value_of(eventfd);
    }
    return signals;
}

Request sync_request(int fd, Opcode opcode = Opcode::fsync) { return {.opcode = opcode, .fd = fd}; }

Request vector_request(Opcode opcode, int fd, std::span<iovec> parts, std::uint64_t offset) {
    return {.opcode = opcode,
            .fd = fd,
            .offset = offset,
            .address = parts.data(),
            .length = parts.size()};
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

void nothing_more(engine::Engine& engine, check::Where where = check::Where::current()) {
    Completion none;
    check::equal(engine.reap({&none, 1}), 0, where);
}

std::int64_t result_of(engine::Engine& engine, const Request& request,
                       check::Where where = check::Where::current()) {
    const auto completions = fixtures::reap(engine, 1);
    if (completions.size() != 1 || completions[0].request != &request) {
        check::fail("another request than expected, or none", where);
        return 0;
    }
    return completions[0].result;
}

// Whatever was submitted before has come to the reactor when this returns.
void go_through_reactor(engine::Engine& engine, check::Where where = check::Where::current()) {
    const fixtures::Pipe ready;
    ready.put_byte();
    auto poll = fixtures::poll_request(ready.reader());
    check::equal(fixtures::complete(engine, poll, where), POLLIN, where);
}

// As fixtures::submit, whatever the route of transfers is.
std::size_t submit_to_reactor(engine::Engine& engine, Request& request) {
    Request* const address = &request;
    engine.plan({&address, 1}, {});
    request.route = Route::reactor;
    return engine.submit({&address, 1}).taken;
}

using Results = std::unordered_map<const Request*, std::int64_t>;

// Of the next completions, each of another request.
Results results_of(engine::Engine& engine, std::size_t count,
                   check::Where where = check::Where::current()) {
    Results results;
    for (const auto& completion : fixtures::reap(engine, count)) {
        const bool is_new = results.emplace(completion.request, completion.result).second;
        check::is_true(is_new, "it completes once", where);
    }
    check::equal(results.size(), count, where);
    nothing_more(engine, where);
    return results;
}

// A poll that is in flight while the reactor comes to nothing.
class StoppedReactor {
public:
    explicit StoppedReactor(engine::Engine& engine) {
        gate.close();
        ready_.put_byte();
        check::equal(fixtures::submit(engine, poll_).taken, 1);
        gate.await_arrival();
    }
    StoppedReactor(const StoppedReactor&) = delete;
    StoppedReactor& operator=(const StoppedReactor&) = delete;
    ~StoppedReactor() { go_on(); }

    static void go_on() { gate.open(); }
    const Request& poll() const { return poll_; }

private:
    fixtures::Pipe ready_;
    Request poll_ = fixtures::poll_request(ready_.reader());
};

// Memory that keeps whoever writes to it waiting.
class StickyMemory {
public:
    explicit StickyMemory(std::size_t pages) : pages_(pages), faults_(open_faults()) {
        memory_ = static_cast<char*>(
            mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        uffdio_register range{};
        range.range = whole();
        range.mode = UFFDIO_REGISTER_MODE_MISSING;
        fixtures::succeeded(ioctl(faults_.get(), UFFDIO_REGISTER, &range));
    }
    StickyMemory(const StickyMemory&) = delete;
    StickyMemory& operator=(const StickyMemory&) = delete;
    ~StickyMemory() {
        let_go();
        munmap(memory_, size());
    }

    std::span<char> page(std::size_t index) const { return {memory_ + index * page_size(), 4}; }

    // Until so many threads are stuck.
    void await(std::size_t count, check::Where where = check::Where::current()) const {
        for (std::size_t i = 0; i < count; ++i) {
            uffd_msg message{};
            const bool is_stuck = is_readable(faults_.get()) &&
                                  ::read(faults_.get(), &message, sizeof message) == sizeof message;
            check::is_true(is_stuck, "a thread is stuck", where);
        }
    }

    bool is_quiet() const { return !is_readable(faults_.get(), milliseconds(20)); }

    // From now on it is memory like any other.
    void let_go() {
        auto range = whole();
        ioctl(faults_.get(), UFFDIO_UNREGISTER, &range);
    }

private:
    static UniqueFd open_faults() {
        const auto fd = static_cast<int>(syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK));
        uffdio_api api{};
        api.api = UFFD_API;
        if (fd < 0 || ioctl(fd, UFFDIO_API, &api) != 0) {
            throw check::Skipped("no userfaultfd(2) here that keeps the kernel waiting, too");
        }
        return UniqueFd(fd);
    }
    static std::size_t page_size() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
    std::size_t size() const { return pages_ * page_size(); }
    uffdio_range whole() const {
        return {.start = reinterpret_cast<std::uintptr_t>(memory_), .len = size()};
    }

    std::size_t pages_;
    UniqueFd faults_;
    char* memory_ = nullptr;
};

// --- threads

std::size_t count_threads() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
}

// The threads that are not ours: a sanitizer's is among them once there was another one.
std::size_t count_threads_of_program() {
    std::thread([] {}).join();
    std::size_t count = count_threads();
    for (int quiet = 0; quiet < 5; ++quiet) {
        std::this_thread::sleep_for(milliseconds(2));
        count = std::min(count, count_threads());
    }
    return count;
}

std::size_t threads_of_program = 1;

bool all_threads_end() {
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    while (count_threads() > threads_of_program && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(milliseconds(5));
    }
    return count_threads() == threads_of_program;
}

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

void test_streams() {
    const auto engine = open();
    const fixtures::Pipe pipe;
    std::string buffer(4, '.');
    auto read = fixtures::read_request(pipe.reader(), buffer, 100);  // no offsets there
    check::equal(fixtures::submit(*engine, read).taken, 1);
    go_through_reactor(*engine);
    nothing_more(*engine);
    auto write = fixtures::write_request(pipe.writer(), "ab", 100);
    check::equal(fixtures::submit(*engine, write).taken, 1);
    const auto results = results_of(*engine, 2);
    check::equal(results.at(&read), 2);
    check::equal(results.at(&write), 2);
    check::equal(buffer, "ab..");
    fixtures::succeeded(fcntl(pipe.reader(), F_SETFL, O_NONBLOCK));
    check::equal(fixtures::complete(*engine, read), -EAGAIN);
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
    std::size_t signalled = 0;
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

// --- what waits does not keep others waiting

void test_streams_that_wait() {
    constexpr std::size_t count = 100;  // more than there can be threads
    const auto engine = open();
    const std::vector<fixtures::Pipe> pipes(count);
    std::string buffer(count, '.');
    std::vector<Request> reads;
    reads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        reads.push_back(fixtures::read_request(pipes[i].reader(), std::span(buffer).subspan(i, 1)));
    }
    check::equal(submit_all(*engine, reads).taken, count);
    const auto file = fixtures::memory_file("data");
    std::string data(4, '.');
    auto read = fixtures::read_request(file.get(), data);
    auto sync = sync_request(file.get());
    check::equal(fixtures::complete(*engine, read), 4);
    check::equal(fixtures::complete(*engine, sync), 0);
    go_through_reactor(*engine);
    std::string expected;
    for (std::size_t i = 0; i < count; ++i) {
        expected += static_cast<char>('a' + i % 26);
        fixtures::put(pipes[i].writer(), expected.substr(i));
    }
    for (const auto& [request, result] : results_of(*engine, count)) {
        check::equal(result, 1);
    }
    check::equal(buffer, expected);
}

void ask_for_workers() {
    if (!has_workers()) {
        throw check::Skipped("this crew has no workers");
    }
}

std::vector<Request> sticky_reads(const StickyMemory& memory, int fd, std::size_t count) {
    std::vector<Request> reads;
    reads.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        reads.push_back(fixtures::read_request(fd, memory.page(i)));
    }
    return reads;
}

// Those that follow it find another worker, though they need none of their own.
void test_a_brief_request_that_is_stuck() {
    ask_for_workers();
    StickyMemory memory(1);
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    auto stuck = sticky_reads(memory, file.get(), 1);
    stuck[0].is_brief = true;
    check::equal(submit_all(*engine, stuck).taken, 1);
    memory.await(1);
    std::string buffer(4, '.');
    auto reads = fixtures::byte_reads(file.get(), buffer);
    for (auto& read : reads) {
        read.is_brief = true;
    }
    check::equal(submit_all(*engine, reads).taken, 4);
    results_of(*engine, 4);
    check::equal(buffer, "data");
    check::is_true(!engine->cancel(stuck[0]), "what a worker has begun can't be cancelled");
    memory.let_go();
    check::equal(result_of(*engine, stuck[0]), 4);
}

void test_more_stuck_requests_than_workers() {
    ask_for_workers();
    constexpr std::size_t workers = 32;
    constexpr std::size_t count = workers + 3;
    StickyMemory memory(count);
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    auto reads = sticky_reads(memory, file.get(), count);
    check::equal(submit_all(*engine, reads).taken, count);
    memory.await(workers);
    check::is_true(memory.is_quiet(), "there are no more workers");
    check::is_true(!engine->cancel(reads.front()), "the first has begun");
    check::is_true(engine->cancel(reads.back()), "the last has not begun");
    check::equal(result_of(*engine, reads.back()), -ECANCELED);
    go_through_reactor(*engine);
    memory.let_go();
    const auto results = results_of(*engine, count - 1);
    for (const auto& [request, result] : results) {
        check::equal(result, 4);
    }
    check::is_true(!results.contains(&reads.back()), "the last did not complete again");
}

// --- cancelling

void test_cancel_before_it_is_begun() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    const auto signal = make_eventfd();
    std::string buffer(4, '.');
    std::array requests{fixtures::read_request(file.get(), buffer), sync_request(file.get()),
                        fixtures::write_request(file.get(), "DATA"),
                        fixtures::poll_request(file.get())};
    for (auto& request : requests) {
        request.eventfd = signal.get();
    }
    const StoppedReactor stopped(*engine);
    check::equal(submit_all(*engine, requests).taken, requests.size());
    for (auto& request : requests) {
        check::is_true(engine->cancel(request), "it is only queued");
    }
    nothing_more(*engine);
    StoppedReactor::go_on();
    auto results = results_of(*engine, requests.size() + 1);
    check::equal(results.at(&stopped.poll()), POLLIN);
    for (const auto& request : requests) {
        check::equal(results.at(&request), -ECANCELED);
    }
    check::equal(signals_of(signal.get(), requests.size()), requests.size());
    check::equal(contents_of(file.get()), "data");
    check::equal(buffer, "....");
    // as good as new
    check::equal(fixtures::complete(*engine, requests[0]), 4);
}

void test_cancel_a_poll() {
    const auto engine = open();
    const fixtures::Pipe pipe;
    const auto signal = make_eventfd();
    std::array polls{fixtures::poll_request(pipe.reader()), fixtures::poll_request(pipe.reader())};
    for (auto& poll : polls) {
        poll.eventfd = signal.get();
    }
    check::equal(submit_all(*engine, polls).taken, 2);
    go_through_reactor(*engine);
    check::is_true(engine->cancel(polls[0]), "it waits");
    check::equal(result_of(*engine, polls[0]), -ECANCELED);
    check::equal(signals_of(signal.get(), 1), 1);
    check::is_true(!engine->cancel(polls[0]), "it is over");
    pipe.put_byte();
    check::equal(result_of(*engine, polls[1]), POLLIN);
    check::equal(signals_of(signal.get(), 1), 1);
    nothing_more(*engine);
}

void test_cancel_what_is_over() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    const auto signal = make_eventfd();
    auto sync = sync_request(file.get());
    sync.eventfd = signal.get();
    check::equal(fixtures::submit(*engine, sync).taken, 1);
    check::equal(signals_of(signal.get(), 1), 1);
    check::is_true(!engine->cancel(sync), "over, but not reaped");
    check::equal(result_of(*engine, sync), 0);
    check::is_true(!engine->cancel(sync), "over, and reaped");
    nothing_more(*engine);
}

void test_cancel_what_might_never_end() {
    const auto engine = open();
    const fixtures::Pipe pipe;
    std::string buffer(1, '.');
    auto read = fixtures::read_request(pipe.reader(), buffer);
    auto poll = fixtures::poll_request(pipe.reader());
    check::equal(submit_to_reactor(*engine, read), 1);
    check::equal(submit_to_reactor(*engine, poll), 1);
    go_through_reactor(*engine);
    check::is_true(engine->cancel_if_endless(read), "a read of a pipe");
    check::equal(result_of(*engine, read), -ECANCELED);
    check::is_true(engine->cancel_if_endless(poll), "a poll");
    check::equal(result_of(*engine, poll), -ECANCELED);
    // what comes to light later
    check::equal(fixtures::complete(*engine, read), -ECANCELED);
    pipe.put_byte();
    check::is_true(is_readable(pipe.reader()), "nobody has read it");
}

void test_what_ends_by_itself_is_not_cancelled() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    auto write = fixtures::write_request(file.get(), "DATA");
    auto sync = sync_request(file.get());
    const StoppedReactor stopped(*engine);
    check::equal(fixtures::submit(*engine, write).taken, 1);
    check::equal(fixtures::submit(*engine, sync).taken, 1);
    check::is_true(!engine->cancel_if_endless(write), "a write of a file");
    check::is_true(!engine->cancel_if_endless(sync), "a sync");
    StoppedReactor::go_on();
    const auto results = results_of(*engine, 3);
    check::equal(results.at(&write), 4);
    check::equal(results.at(&sync), 0);
    check::equal(contents_of(file.get()), "DATA");
}

// --- many at once

// What one of several threads asks for.
class Share {
public:
    Share(unsigned seed, std::size_t size, std::size_t first_place)
        : random_(seed), first_place_(first_place), memory_(2 * size, '.'), parts_(2 * size) {
        requests_.reserve(size);
        was_cancelled_.resize(size);
        was_to_be_cancelled_.resize(size);
    }

    struct Files {
        std::string contents = std::string(1000, 'r');
        UniqueFd input = fixtures::memory_file(contents);
        UniqueFd output = fixtures::memory_file("");
        fixtures::Pipe ready;
        std::array<UniqueFd, 3> signals{make_eventfd(), make_eventfd(), make_eventfd()};
    };

    void make(const Files& files) {
        for (std::size_t i = 0; i < was_cancelled_.size(); ++i) {
            requests_.push_back(make_request(files, i));
            auto& request = requests_.back();
            request.is_brief = draw(2) == 0;
            if (const auto signal = draw(4); signal != 0) {
                request.eventfd = files.signals[signal - 1].get();
            }
        }
    }

    void submit(engine::Engine& engine) {
        for (std::size_t done = 0; done < requests_.size();) {
            const auto size = std::min(1 + draw(64), requests_.size() - done);
            const auto submission = submit_all(engine, std::span(requests_).subspan(done, size));
            check::equal(submission.error, 0);
            if (submission.taken == 0) {
                return;
            }
            done += submission.taken;
            const auto victim = done - 1 - draw(std::min<std::size_t>(done, 16));
            was_to_be_cancelled_[victim] = true;
            was_cancelled_[victim] = engine.cancel(requests_[victim]) || was_cancelled_[victim];
        }
    }

    std::span<const Request> requests() const { return requests_; }

    void check_result(std::size_t i, std::int64_t result) const {
        const auto& request = requests_[i];
        if (result == -ECANCELED) {
            check::is_true(was_to_be_cancelled_[i], "it was cancelled by somebody");
            return;
        }
        check::is_true(!was_cancelled_[i], "what was cancelled ends so");
        check::equal(result, expected_result(request.opcode));
        if (is_read(request.opcode)) {
            check::equal(std::string_view(memory_).substr(2 * i, 2), "rr");
        }
    }

private:
    static int expected_result(Opcode opcode) {
        if (opcode == Opcode::poll) {
            return POLLIN;
        }
        return transfers_data(opcode) ? 2 : 0;
    }

    std::size_t draw(std::size_t choices) { return random_() % choices; }

    Request make_request(const Files& files, std::size_t i) {
        const auto memory = std::span(memory_).subspan(2 * i, 2);
        switch (draw(8)) {
            case 0:
                return fixtures::poll_request(files.ready.reader());
            case 1:
                return sync_request(files.output.get());
            case 2:
                return fixtures::write_request(files.output.get(), {memory.data(), 2},
                                               first_place_ + 2 * i);
            case 3: {
                const auto parts = std::span(parts_).subspan(2 * i, 2);
                parts[0] = part_of(memory_, 2 * i + 1, 1);
                parts[1] = part_of(memory_, 2 * i, 1);
                return vector_request(Opcode::readv, files.input.get(), parts, draw(900));
            }
            default:
                return fixtures::read_request(files.input.get(), memory, draw(900));
        }
    }

    std::minstd_rand random_;
    std::size_t first_place_;
    std::string memory_;
    std::vector<iovec> parts_;
    std::vector<Request> requests_;
    std::vector<bool> was_cancelled_;
    std::vector<bool> was_to_be_cancelled_;
};

// How often each completed, and how, whoever reaped it.
class Tally {
public:
    void collect(engine::Engine& engine, std::size_t count) {
        const auto deadline = std::chrono::steady_clock::now() + check::patience;
        while (total_ < count && std::chrono::steady_clock::now() < deadline) {
            std::array<Completion, 20> completions;
            const auto ticket = engine.ticket();
            const auto reaped = engine.reap(completions);
            note(std::span(completions).first(reaped));
            if (reaped == 0 && total_ < count) {
                engine.wait(ticket, milliseconds(100));
            }
        }
    }

    std::size_t total() const { return total_; }

    const std::vector<std::int64_t>& results_of(const Request& request) {
        return results_[&request];
    }

private:
    void note(std::span<const Completion> completions) {
        const std::lock_guard lock(mutex_);
        for (const auto& completion : completions) {
            results_[completion.request].push_back(completion.result);
        }
        total_ += completions.size();
    }

    std::mutex mutex_;
    std::atomic<std::size_t> total_ = 0;
    std::unordered_map<const Request*, std::vector<std::int64_t>> results_;
};

void check_share(const Share& share, Tally& tally) {
    for (std::size_t i = 0; i < share.requests().size(); ++i) {
        const auto& results = tally.results_of(share.requests()[i]);
        check::equal(results.size(), 1);
        if (results.size() == 1) {
            share.check_result(i, results[0]);
        }
    }
}

std::uint64_t count_signals(std::span<const std::unique_ptr<Share>> shares, int eventfd) {
    std::uint64_t count = 0;
    for (const auto& share : shares) {
        count += static_cast<std::uint64_t>(
            std::ranges::count(share->requests(), eventfd, &Request::eventfd));
    }
    return count;
}

void test_many_at_once() {
    constexpr std::size_t size = 1500;
    Share::Files files;
    files.ready.put_byte();
    std::vector<std::unique_ptr<Share>> shares;
    for (unsigned i = 0; i < 4; ++i) {
        shares.push_back(std::make_unique<Share>(i + 1, size, 2 * size * i));
        shares.back()->make(files);
    }
    Tally tally;
    auto engine = open();
    std::vector<std::thread> threads;
    threads.reserve(shares.size() + 2);
    for (const auto& share : shares) {
        threads.emplace_back([&] { share->submit(*engine); });
    }
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] { tally.collect(*engine, size * shares.size()); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    nothing_more(*engine);
    check::equal(tally.total(), size * shares.size());
    engine.reset();  // nobody signals from now on
    for (const auto& share : shares) {
        check_share(*share, tally);
    }
    for (const auto& signal : files.signals) {
        check::equal(value_of(signal.get()), count_signals(shares, signal.get()));
    }
}

// --- the threads' lives

void test_threads_end_and_begin_again() {
    const auto engine = open();
    const auto file = fixtures::memory_file("data");
    for (int i = 0; i < 2; ++i) {
        std::string buffer(4, '.');
        auto read = fixtures::read_request(file.get(), buffer);
        check::equal(fixtures::complete(*engine, read), 4);
        go_through_reactor(*engine);
        check::equal(buffer, "data");
        check::is_true(count_threads() > threads_of_program, "there are threads of ours");
        check::is_true(all_threads_end(), "they end when there is nothing to do");
        check::equal(reactors, 0);
    }
}

// While something is in flight, somebody has to wait for it.
void test_threads_stay_as_long_as_they_are_needed() {
    const auto engine = open();
    const fixtures::Pipe pipe;
    auto poll = fixtures::poll_request(pipe.reader());
    check::equal(fixtures::submit(*engine, poll).taken, 1);
    std::this_thread::sleep_for(milliseconds(250));  // longer than they stay with nothing to do
    check::equal(reactors, 1);
    pipe.put_byte();
    check::equal(result_of(*engine, poll), POLLIN);
}

// So many files that a submission takes long enough for threads to end meanwhile.
class ManyNumbers {
public:
    ManyNumbers() {
        numbers_.reserve(count);
        while (numbers_.size() < count) {
            numbers_.emplace_back(fixtures::succeeded(dup(file_.get())));
        }
    }

    std::vector<Request> requests(Opcode opcode, int eventfd) const {
        std::vector<Request> requests;
        requests.reserve(count);
        for (const auto& number : numbers_) {
            requests.push_back(
                {.opcode = opcode, .fd = number.get(), .poll_events = POLLIN, .eventfd = eventfd});
        }
        return requests;
    }

    static constexpr std::size_t count = 24;

private:
    UniqueFd file_ = fixtures::memory_file("data");
    std::vector<UniqueFd> numbers_;
};

void use_now_and_then(unsigned seed) {
    constexpr std::size_t rounds = 5;
    std::minstd_rand random(seed);
    const auto engine = open();
    const auto signal = make_eventfd();
    const ManyNumbers numbers;
    for (std::size_t i = 0; i < rounds; ++i) {
        const bool polls = random() % 4 == 0;
        auto requests = numbers.requests(polls ? Opcode::poll : Opcode::fsync, signal.get());
        check::equal(submit_all(*engine, requests).taken, requests.size());
        for (const auto& [request, result] : results_of(*engine, requests.size())) {
            check::equal(result, polls ? POLLIN : 0);
        }
        check::equal(signals_of(signal.get(), requests.size()), requests.size());
        std::this_thread::sleep_for(std::chrono::microseconds(99'500 + random() % 2000));
    }
}

// At the moment when the threads of some of many engines end.
void test_requests_that_come_as_threads_end() {
    constexpr unsigned engines = 16;
    std::vector<std::thread> threads;
    threads.reserve(engines);
    for (unsigned i = 0; i < engines; ++i) {
        threads.emplace_back(use_now_and_then, i + 1);
    }
    for (auto& thread : threads) {
        thread.join();
    }
}

void test_closing_waits_for_the_threads() {
    const auto file = fixtures::memory_file("data");
    for (int i = 0; i < 30; ++i) {
        auto engine = open();
        std::string buffer(4, '.');
        auto read = fixtures::read_request(file.get(), buffer);
        check::equal(fixtures::complete(*engine, read), 4);
        go_through_reactor(*engine);
        check::equal(reactors, 1);
        engine.reset();
        check::equal(reactors, 0);
    }
    check::is_true(all_threads_end(), "no thread is left");
}

void test_an_engine_without_threads() {
    auto engine = open();
    check::equal(reactors, 0);
    engine.reset();
    check::equal(count_threads(), threads_of_program);
}

// --- child processes

// Runs in a child process until it is told to end.
class Child {
public:
    explicit Child(const std::function<void()>& action) : pid_(fixtures::succeeded(fork())) {
        if (pid_ == 0) {
            action();
            char byte = 0;
            [[maybe_unused]] const auto size = ::read(to_end_.reader(), &byte, 1);
            // Valgrind would take for leaks, at an exit, what is the threads'.
            execlp("true", "true", nullptr);
            _exit(1);
        }
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        [[maybe_unused]] const auto told = ::write(to_end_.writer(), "x", 1);
        int status = -1;
        waitpid(pid_, &status, 0);
        check::equal(status, 0);
    }

private:
    fixtures::Pipe to_end_;
    pid_t pid_;
};

// It lets go of what is its own, and of nothing else.
void test_a_child_process() {
    auto engine = open();
    const fixtures::Pipe pipe;
    auto poll = fixtures::poll_request(pipe.reader());
    check::equal(fixtures::submit(*engine, poll).taken, 1);
    go_through_reactor(*engine);
    const Child child([&] { engine.reset(); });
    std::this_thread::sleep_for(milliseconds(20));
    pipe.put_byte();
    check::equal(result_of(*engine, poll), POLLIN);
    go_through_reactor(*engine);
}

// Nor does it keep what the threads hold.
void test_a_child_process_keeps_no_pipe_open() {
    const auto engine = open();
    std::array<int, 2> ends{};
    fixtures::succeeded(pipe(ends.data()));
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    auto poll = fixtures::poll_request(writer.get());  // which never is
    check::equal(fixtures::submit(*engine, poll).taken, 1);
    go_through_reactor(*engine);
    {
        const UniqueFd closed = std::move(writer);
    }
    const Child child([] {});
    check::is_true(!is_readable(reader.get(), milliseconds(0)), "our threads hold it");
    check::is_true(engine->cancel(poll), "it waits");
    check::equal(result_of(*engine, poll), -ECANCELED);
    check::is_true(is_readable(reader.get()), "nobody holds it");  // POLLHUP
}

// --- which reactor

class RefusedReactor final : public engine::Reactor {
public:
    int open() noexcept override { return EPERM; }
    void start(Request& /*request*/) noexcept override { fail(); }
    void cancel(engine::Cancellation& /*cancellation*/) noexcept override { fail(); }
    void wait(std::chrono::nanoseconds /*timeout*/) noexcept override { fail(); }
    void handle() noexcept override { fail(); }
    void close_file(int /*fd*/) noexcept override { fail(); }

private:
    static void fail() { check::fail("it is not open"); }
};

std::unique_ptr<engine::Reactor> make_refused_reactor(engine::ReactorOwner& /*owner*/,
                                                      int /*wake_fd*/) noexcept {
    return std::make_unique<RefusedReactor>();
}

std::unique_ptr<engine::Reactor> make_none(engine::ReactorOwner& /*owner*/,
                                           int /*wake_fd*/) noexcept {
    return nullptr;
}

// A crew that is closed in the end.
class OwnCrew {
public:
    OwnCrew(engine::Crew::MakeReactor first, engine::Crew::MakeReactor second)
        : crew_(std::make_shared<engine::Crew>(completions_, first, second)) {}
    OwnCrew(const OwnCrew&) = delete;
    OwnCrew& operator=(const OwnCrew&) = delete;
    ~OwnCrew() { crew_->close(); }

    bool has_second_choice() const { return crew_->has_second_choice(); }

    std::int64_t complete(Request& request, Route route) {
        request.route = route;
        Request* const address = &request;
        check::equal(crew_->submit({&address, 1}).taken, 1);
        const auto deadline = std::chrono::steady_clock::now() + check::patience;
        Completion completion;
        while (completions_.reap({&completion, 1}) == 0) {
            if (std::chrono::steady_clock::now() > deadline) {
                check::fail("it does not complete");
                return 0;
            }
            completions_.wait(completions_.ticket(), milliseconds(10));
        }
        return completion.result;
    }

private:
    engine::CompletionQueue completions_;
    std::shared_ptr<engine::Crew> crew_;
};

void test_the_second_choice() {
    for (const auto first : {make_refused_reactor, make_none}) {
        OwnCrew crew(first, engine::make_epoll_reactor);
        const auto file = fixtures::memory_file("data");
        auto poll = fixtures::poll_request(file.get());
        check::equal(crew.complete(poll, Route::reactor), POLLIN);
        check::is_true(crew.has_second_choice(), "the first was refused");
        // what epoll can't do, workers do
        auto sync = sync_request(file.get());
        check::equal(crew.complete(sync, Route::reactor), 0);
    }
}

void test_no_reactor() {
    OwnCrew crew(make_refused_reactor, nullptr);
    const auto file = fixtures::memory_file("data");
    auto poll = fixtures::poll_request(file.get());
    check::equal(crew.complete(poll, Route::reactor), -EPERM);
    auto sync = sync_request(file.get());
    check::equal(crew.complete(sync, Route::workers), 0);
}

// --- all of it

int run_tests_of(const Kind& tested) {
    kind = tested;
    std::cout << kind.name << ":\n";
    return check::run({
        {"reads and writes", test_reads_and_writes},
        {"vectors", test_vectors},
        {"syncs", test_syncs},
        {"polls", test_polls},
        {"polls of what does not come", test_polls_of_what_does_not_come},
        {"streams", test_streams},
        {"what is refused at once", test_what_is_refused_at_once},
        {"a file of the wrong mode", test_a_file_of_the_wrong_mode},
        {"completions come before their signals", test_completions_come_before_their_signals},
        {"many eventfds", test_many_eventfds},
        {"a thread that ends at once", test_a_thread_that_ends_at_once},
        {"requests that are freed at once", test_requests_that_are_freed_at_once},
        {"streams that wait", test_streams_that_wait},
        {"a brief request that is stuck", test_a_brief_request_that_is_stuck},
        {"more stuck requests than workers", test_more_stuck_requests_than_workers},
        {"cancel before it is begun", test_cancel_before_it_is_begun},
        {"cancel a poll", test_cancel_a_poll},
        {"cancel what is over", test_cancel_what_is_over},
        {"cancel what might never end", test_cancel_what_might_never_end},
        {"what ends by itself", test_what_ends_by_itself_is_not_cancelled},
        {"many at once", test_many_at_once},
        {"threads end and begin again", test_threads_end_and_begin_again},
        {"threads stay as long as they are needed", test_threads_stay_as_long_as_they_are_needed},
        {"requests that come as threads end", test_requests_that_come_as_threads_end},
        {"closing waits for the threads", test_closing_waits_for_the_threads},
        {"an engine without threads", test_an_engine_without_threads},
        {"a child process", test_a_child_process},
        {"a child process keeps no pipe open", test_a_child_process_keeps_no_pipe_open},
    });
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

int main() {
    threads_of_program = count_threads_of_program();
    int status = check::run({
        {"the second choice of a reactor", test_the_second_choice},
        {"no reactor", test_no_reactor},
    });
    for (const auto& tested : all_kinds()) {
        status = run_tests_of(tested) == EXIT_SUCCESS ? status : EXIT_FAILURE;
    }
    return status;
}
