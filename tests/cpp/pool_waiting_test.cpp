// SPDX-License-Identifier: Apache-2.0
// Threads of ours, with each reactor: a request that waits does not keep others waiting.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "engine/call.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "few_numbers.hpp"
#include "fixtures.hpp"
#include "pool_fixtures.hpp"
#include "sandbox.hpp"

namespace {

using engine::Request;
using engine::UniqueFd;
using pool_fixtures::go_through_reactor;
using pool_fixtures::has_workers;
using pool_fixtures::is_readable;
using pool_fixtures::open;
using pool_fixtures::result_of;
using pool_fixtures::results_of;
using pool_fixtures::submit_all;
using pool_fixtures::sync_request;
using std::chrono::milliseconds;

// --- streams

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

// --- what is stuck in a worker

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

void ask_for_workers() {
    if (!has_workers()) {
        throw check::Skipped("this pool has no workers");
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

// More files than the reactor can be sent at once: the submission goes on when it has received.
void test_submissions_wait_for_the_reactor_to_receive() {
    const auto engine = open();
    const std::array files{fixtures::memory_file("even"), fixtures::memory_file("odd")};
    std::vector<Request> polls;
    for (std::size_t i = 0; i < 400; ++i) {
        polls.push_back(fixtures::poll_request(files[i % 2].get()));
    }
    std::atomic<std::size_t> taken = 0;
    std::future<void> submitted;
    {
        const pool_fixtures::StoppedReactor stopped(*engine);
        submitted = std::async(std::launch::async, [&] {
            for (auto& poll : polls) {
                taken += fixtures::submit(*engine, poll).taken;
            }
        });
        // until it comes to a standstill, or its end
        for (std::size_t before = ~std::size_t{0}; before != taken;) {
            before = taken;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        pool_fixtures::StoppedReactor::go_on();
        check::get(submitted);
        check::equal(taken.load(), polls.size());
        for (const auto& [request, result] : results_of(*engine, polls.size() + 1)) {
            check::equal(result, POLLIN);
        }
    }
}

// --- calls

class CountedCall final : public engine::Call {
public:
    explicit CountedCall(const char* path = nullptr) : path_(path) {}

    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const engine::CallFiles& /*files*/) noexcept override { return ++runs; }
    std::atomic<int> runs = 0;

private:
    const char* path_;
};

Request call_request(CountedCall& call, int folder = AT_FDCWD) {
    return {{.opcode = engine::Opcode::call, .fd = folder, .call = &call}};
}

// A worker that asks whose a path is has the request, and a place of its device, all the time.
void test_cancel_while_a_path_is_looked_up() {
    constexpr std::size_t at_work = 32;  // of one device
    constexpr std::size_t count = 40;
    StickyMemory memory(count);
    const auto engine = open();
    std::deque<CountedCall> calls;
    std::vector<Request> requests;
    for (std::size_t i = 0; i < count; ++i) {
        requests.push_back(call_request(calls.emplace_back(memory.page(i).data())));
    }
    check::equal(submit_all(*engine, requests).taken, count);
    memory.await(at_work);
    std::size_t cancelled = 0;
    for (auto& request : requests) {
        cancelled += engine->cancel(request) ? 1 : 0;
    }
    check::equal(cancelled, count - at_work);
    memory.let_go();
    std::size_t done = 0;
    for (const auto& [request, result] : results_of(*engine, count)) {
        check::is_true(result == 1 || result == -ECANCELED, "done once, or not at all");
        done += result == 1 ? 1 : 0;
    }
    check::equal(done, at_work);
    // the places have all been given back
    std::vector<Request> more;
    std::deque<CountedCall> more_calls;
    for (std::size_t i = 0; i < 2 * count; ++i) {
        more.push_back(call_request(more_calls.emplace_back(".")));
    }
    check::equal(submit_all(*engine, more).taken, more.size());
    results_of(*engine, more.size());
}

// A thread with other rights than ours has another carry it out, and no worker does after that,
// even where our threads' table has no room for its file.
void test_a_call_of_another_thread_is_done_once() {
    constexpr int limit = 64;
    const auto engine = open();
    std::vector<UniqueFd> signals;
    std::vector<Request> polls;
    for (int i = 0; i < limit - 32; ++i) {
        signals.push_back(pool_fixtures::make_eventfd());
        polls.push_back(fixtures::poll_request(signals.back().get()));
    }
    const UniqueFd folder(fixtures::succeeded(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    check::equal(submit_all(*engine, polls).taken, polls.size());
    go_through_reactor(*engine);
    CountedCall call;
    auto request = call_request(call, folder.get());
    {
        const FewNumbers few(limit);
        std::thread([&] {
            sandbox::refuse(__NR_acct, EPERM);
            const auto refusal = fixtures::beside_others(
                [&] { return -std::int64_t{fixtures::submit(*engine, request).error}; });
            check::equal(refusal, 0);
        }).join();
        check::equal(result_of(*engine, request), 1);
    }
    for (const auto& signal : signals) {
        check::equal(eventfd_write(signal.get(), 1), 0);
    }
    results_of(*engine, polls.size());
    check::equal(call.runs.load(), 1);
}

}  // namespace

int main() {
    return pool_fixtures::run_with_each_kind({
        {"streams that wait", test_streams_that_wait},
        {"a brief request that is stuck", test_a_brief_request_that_is_stuck},
        {"more stuck requests than workers", test_more_stuck_requests_than_workers},
        {"cancel while a path is looked up", test_cancel_while_a_path_is_looked_up},
        {"a call of another thread is done once", test_a_call_of_another_thread_is_done_once},
        {"submissions wait for the reactor to receive",
         test_submissions_wait_for_the_reactor_to_receive},
    });
}
