// SPDX-License-Identifier: Apache-2.0
// The lives of our threads, with each reactor: they begin with the work, end without it, and child
// processes have none of them.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"
#include "pool_fixtures.hpp"

namespace {

using engine::Opcode;
using engine::Request;
using engine::UniqueFd;
using pool_fixtures::count_reactors;
using pool_fixtures::go_through_reactor;
using pool_fixtures::is_readable;
using pool_fixtures::make_eventfd;
using pool_fixtures::open;
using pool_fixtures::result_of;
using pool_fixtures::results_of;
using pool_fixtures::signals_of;
using pool_fixtures::submit_all;
using std::chrono::milliseconds;

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
        check::equal(count_reactors(), 0);
    }
}

// While something is in flight, somebody has to wait for it.
void test_threads_stay_as_long_as_they_are_needed() {
    const auto engine = open();
    const fixtures::Pipe pipe;
    auto poll = fixtures::poll_request(pipe.reader());
    check::equal(fixtures::submit(*engine, poll).taken, 1);
    std::this_thread::sleep_for(milliseconds(250));  // longer than they stay with nothing to do
    check::equal(count_reactors(), 1);
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
            requests.push_back({{.opcode = opcode,
                                 .fd = number.get(),
                                 .poll_events = POLLIN,
                                 .eventfd = eventfd}});
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
        check::equal(count_reactors(), 1);
        engine.reset();
        check::equal(count_reactors(), 0);
    }
    check::is_true(all_threads_end(), "no thread is left");
}

void test_an_engine_without_threads() {
    auto engine = open();
    check::equal(count_reactors(), 0);
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

}  // namespace

int main() {
    threads_of_program = count_threads_of_program();
    return pool_fixtures::run_with_each_kind({
        {"threads end and begin again", test_threads_end_and_begin_again},
        {"threads stay as long as they are needed", test_threads_stay_as_long_as_they_are_needed},
        {"requests that come as threads end", test_requests_that_come_as_threads_end},
        {"closing waits for the threads", test_closing_waits_for_the_threads},
        {"an engine without threads", test_an_engine_without_threads},
        {"a child process", test_a_child_process},
        {"a child process keeps no pipe open", test_a_child_process_keeps_no_pipe_open},
    });
}
