// SPDX-License-Identifier: Apache-2.0
// The aio engine on the real kernel. With LINUX_AIO_USER_RING=0 in the environment it has to do all
// the same without the ring.
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "engine/engine.hpp"
#include "fixtures.hpp"

namespace {

using engine::Engine;
using engine::Request;
using fixtures::make_engine;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

std::string digits(std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
        text += static_cast<char>('0' + i % 10);
    }
    return text;
}

// --- making one

void test_names() {
    check::equal(std::string(make_engine()->name()), std::string("aio"));
    int error = EINVAL;
    check::is_true(engine::open_engine("nonsense", 1, error) == nullptr, "no engine of that name");
    check::equal(error, 0);
}

void test_too_many_requests() {
    int error = 0;
    check::is_true(engine::open_engine("aio", INT_MAX, error) == nullptr, "no engine");
    check::equal(error, EINVAL);
}

// --- requests

void test_transfers() {
    const auto engine = make_engine();
    const auto file = fixtures::memory_file("hello world");
    std::string buffer(32, '.');

    auto read = fixtures::read_request(file.get(), buffer, 6);
    check::equal(fixtures::complete(*engine, read), 5);
    check::equal(buffer.substr(0, 6), "world.");
    auto at_the_end = fixtures::read_request(file.get(), buffer, 11);
    check::equal(fixtures::complete(*engine, at_the_end), 0);

    auto write = fixtures::write_request(file.get(), "there", 6);
    check::equal(fixtures::complete(*engine, write), 5);
    check::equal(fixtures::complete(*engine, read), 5);
    check::equal(buffer.substr(0, 6), "there.");
}

void test_vectors() {
    const auto engine = make_engine();
    const auto file = fixtures::memory_file("hello world");
    std::string first(6, '.');
    std::string second(6, '.');
    std::array<iovec, 2> parts{iovec{first.data(), first.size()},
                               iovec{second.data(), second.size()}};
    Request request{{.opcode = engine::Opcode::readv,
                     .fd = file.get(),
                     .address = parts.data(),
                     .length = parts.size()}};
    check::equal(fixtures::complete(*engine, request), 11);
    check::equal(first + second, "hello world.");
    request.opcode = engine::Opcode::writev;
    request.offset = 11;
    check::equal(fixtures::complete(*engine, request), 12);
}

void test_syncs() {
    const auto engine = make_engine();
    const auto file = fixtures::memory_file("");
    for (const auto opcode : {engine::Opcode::fsync, engine::Opcode::fdsync}) {
        Request request{{.opcode = opcode, .fd = file.get()}};
        check::equal(fixtures::complete(*engine, request), 0);
    }
}

void test_poll() {
    const auto engine = make_engine();
    const fixtures::Pipe pipe;
    auto request = fixtures::poll_request(pipe.reader());
    check::equal(fixtures::submit(*engine, request).taken, 1);
    engine::Completion completion;
    check::equal(engine->reap({&completion, 1}), 0);
    pipe.put_byte();
    const auto completions = fixtures::reap(*engine, 1);
    check::equal(completions.size(), 1);
    check::equal(completions.at(0).request, &request);
    check::equal(completions.at(0).result, POLLIN);
}

void test_eventfd() {
    const auto engine = make_engine();
    const auto file = fixtures::memory_file("hello");
    const engine::UniqueFd counter(fixtures::succeeded(eventfd(0, EFD_NONBLOCK)));
    std::string buffer(5, '.');
    auto request = fixtures::read_request(file.get(), buffer);
    request.eventfd = counter.get();
    check::equal(fixtures::submit(*engine, request).taken, 1);
    std::uint64_t count = 0;
    check::equal(read(counter.get(), &count, sizeof count), 8);
    check::equal(count, 1U);
    // who was told finds it, without waiting
    engine::Completion completion;
    check::equal(engine->reap({&completion, 1}), 1);
    check::equal(completion.request, &request);
}

void test_refused() {
    const auto engine = make_engine();
    const auto file = fixtures::memory_file("hello");
    std::string buffer(5, '.');
    auto good = fixtures::read_request(file.get(), buffer);
    auto bad = fixtures::read_request(-1, buffer);
    auto left_over = good;
    const std::array<Request*, 3> requests{&good, &bad, &left_over};

    const auto short_one = engine->submit(requests);
    check::equal(short_one.taken, 1);
    check::equal(short_one.error, 0);
    const auto refused = engine->submit(std::span(requests).subspan(1));
    check::equal(refused.taken, 0);
    check::equal(refused.error, EBADF);
    check::equal(fixtures::reap(*engine, 1).at(0).request, &good);
    check::equal(fixtures::complete(*engine, left_over), 5);
}

void test_nothing() {
    const auto engine = make_engine();
    const auto submission = engine->submit({});
    check::equal(submission.taken, 0);
    check::equal(submission.error, 0);
    check::equal(engine->reap({}), 0);
    const auto file = fixtures::memory_file("hello");
    std::string buffer(5, '.');
    auto request = fixtures::read_request(file.get(), buffer);
    fixtures::submit(*engine, request);
    check::equal(engine->reap({}), 0);
    check::equal(fixtures::reap(*engine, 1).size(), 1);
}

// --- many requests

void expect_each_once(const std::vector<engine::Completion>& completions,
                      std::span<Request> requests, check::Where where = check::Where::current()) {
    std::vector<int> count(requests.size());
    for (const auto& completion : completions) {
        ++count.at(static_cast<std::size_t>(completion.request - requests.data()));
    }
    for (const int times : count) {
        check::equal(times, 1, where);
    }
}

void test_many_at_once() {
    const auto text = digits(300);
    const auto file = fixtures::memory_file(text);
    const auto engine = make_engine(300);
    std::string buffer(300, '.');
    auto requests = fixtures::byte_reads(file.get(), buffer);
    check::equal(engine->submit(fixtures::addresses(requests)).taken, 300);
    expect_each_once(fixtures::reap(*engine, 300), requests);
    check::equal(buffer, text);
}

void test_many_rounds() {
    const auto text = digits(50);
    const auto file = fixtures::memory_file(text);
    const auto engine = make_engine(50);
    for (int round = 0; round < 1000; ++round) {
        std::string buffer(50, '.');
        auto requests = fixtures::byte_reads(file.get(), buffer);
        check::equal(engine->submit(fixtures::addresses(requests)).taken, 50);
        expect_each_once(fixtures::reap(*engine, 50), requests);
        check::equal(buffer, text);
    }
}

void test_full_queue() {
    const fixtures::Pipe pipe;
    const auto engine = make_engine(1);
    std::vector<Request> requests(20'000, fixtures::poll_request(pipe.reader()));
    const auto all = fixtures::addresses(requests);
    auto first = engine->submit(all);
    check::equal(first.error, 0);
    check::is_true(first.taken >= 1 && first.taken < all.size(), "the kernel's limit");
    // The kernel counts with some slack: some more may fit.
    auto taken = first.taken;
    auto next = engine->submit(std::span(all).subspan(taken));
    while (next.taken != 0) {
        taken += next.taken;
        next = engine->submit(std::span(all).subspan(taken));
    }
    check::equal(next.error, EAGAIN);
    pipe.put_byte();
    expect_each_once(fixtures::reap(*engine, taken), std::span(requests).first(taken));
    check::equal(fixtures::submit(*engine, requests[taken]).taken, 1);
    check::equal(fixtures::reap(*engine, 1).size(), 1);
}

// --- waiting

void test_time_out() {
    const auto engine = make_engine();
    for (const std::chrono::nanoseconds timeout : {0ns, 1000ns, 30'000'000ns}) {
        const auto start = Clock::now();
        check::equal(engine->wait(engine->ticket(), timeout), ETIMEDOUT);
        check::is_true(Clock::now() - start >= timeout, "too early");
    }
}

void test_wait_for_completion() {
    const fixtures::Pipe pipe;
    const auto engine = make_engine();
    auto request = fixtures::poll_request(pipe.reader());
    fixtures::submit(*engine, request);
    const auto ticket = engine->ticket();
    auto waiter = std::async(std::launch::async, [&] { return engine->wait(ticket, {}); });
    std::this_thread::sleep_for(5ms);
    pipe.put_byte();
    check::equal(check::get(waiter), 0);
    check::equal(fixtures::reap(*engine, 1).size(), 1);
}

void test_wait_with_something_there() {
    const fixtures::Pipe pipe;
    pipe.put_byte();
    const auto engine = make_engine();
    auto request = fixtures::poll_request(pipe.reader());
    fixtures::submit(*engine, request);
    check::equal(engine->wait(engine->ticket(), {}), 0);
    check::equal(engine->wait(engine->ticket(), {}), 0);
    check::equal(fixtures::reap(*engine, 1).size(), 1);
    check::equal(engine->wait(engine->ticket(), 1ms), ETIMEDOUT);
}

void test_ticket_from_before() {
    const auto file = fixtures::memory_file("hello");
    const auto engine = make_engine();
    const auto ticket = engine->ticket();
    std::string buffer(5, '.');
    auto request = fixtures::read_request(file.get(), buffer);
    fixtures::complete(*engine, request);
    check::equal(engine->wait(ticket, {}), 0);
}

// Each waits for what only one of them, or somebody else, reaps.
void test_waiters(std::size_t waiters_count) {
    const fixtures::Pipe pipe;
    const auto engine = make_engine();
    for (int round = 0; round < 50; ++round) {
        auto request = fixtures::poll_request(pipe.reader());
        fixtures::submit(*engine, request);
        const auto ticket = engine->ticket();
        std::vector<std::future<int>> waiters(waiters_count);
        for (auto& waiter : waiters) {
            waiter = std::async(std::launch::async, [&] { return engine->wait(ticket, {}); });
        }
        if (round % 2 == 0) {
            std::this_thread::sleep_for(2ms);
        }
        pipe.put_byte();
        check::equal(fixtures::reap(*engine, 1).size(), 1);
        for (auto& waiter : waiters) {
            check::equal(check::get(waiter), 0);
        }
        char byte;
        check::equal(read(pipe.reader(), &byte, 1), 1);
    }
}

void test_one_waiter() { test_waiters(1); }
void test_several_waiters() { test_waiters(5); }

void ignore_signal(int /*number*/) {}

void test_signal() {
    struct sigaction action{};
    action.sa_handler = ignore_signal;  // without SA_RESTART
    struct sigaction callers{};
    sigaction(SIGUSR1, &action, &callers);
    const auto engine = make_engine();
    std::promise<pthread_t> thread;
    auto waiter = std::async(std::launch::async, [&] {
        thread.set_value(pthread_self());
        return engine->wait(engine->ticket(), {});
    });
    const auto target = thread.get_future().get();
    // again and again: the first may come before it waits
    for (int i = 0; i < 1000 && waiter.wait_for(5ms) != std::future_status::ready; ++i) {
        pthread_kill(target, SIGUSR1);
    }
    check::equal(check::get(waiter), EINTR);
    sigaction(SIGUSR1, &callers, nullptr);
}

// Threads that submit requests of their own, wait, and reap whatever is there.
class Crowd {
public:
    void run() {
        std::array<std::future<bool>, threads_count> threads;
        for (std::size_t i = 0; i < threads.size(); ++i) {
            threads[i] = std::async(std::launch::async, [this, i] { return work(i); });
        }
        for (auto& thread : threads) {
            check::is_true(check::get(thread), "a wait failed");
        }
        bool each_once = true;
        for (std::size_t i = 0; i < total; ++i) {
            each_once = each_once && reaped_[i] == 1 && buffer_[i] == text_[i % batch];
        }
        check::is_true(each_once, "each request completes once, with its bytes");
    }

private:
    static constexpr std::size_t threads_count = 4;
    static constexpr std::size_t rounds = 3000;
    static constexpr std::size_t batch = 4;
    static constexpr std::size_t total = threads_count * rounds * batch;

    bool work(std::size_t thread) {
        for (std::size_t round = 0; round < rounds; ++round) {
            submit((thread * rounds + round) * batch);
        }
        while (reaped_count_ < total) {
            const auto ticket = engine_->ticket();
            if (reap() == 0 && reaped_count_ < total && engine_->wait(ticket, {}) != 0) {
                return false;
            }
        }
        return true;
    }

    // A batch from that number on.
    void submit(std::size_t first) {
        const auto requests = std::span(requests_).subspan(first, batch);
        std::ranges::copy(
            fixtures::byte_reads(file_.get(), std::span(buffer_).subspan(first, batch)),
            requests.begin());
        const auto addresses = fixtures::addresses(requests);
        for (std::size_t taken = 0; taken < batch;) {
            taken += engine_->submit(std::span(addresses).subspan(taken)).taken;
            reap();
        }
    }

    std::size_t reap() {
        std::array<engine::Completion, 7> completions;
        const auto count = engine_->reap(completions);
        for (const auto& completion : std::span(completions).first(count)) {
            if (completion.request == &last_) {
                continue;
            }
            ++reaped_.at(static_cast<std::size_t>(completion.request - requests_.data()));
            if (++reaped_count_ == total) {
                check::equal(fixtures::submit(*engine_, last_).taken, 1);
            }
        }
        return count;
    }

    const std::string text_ = digits(batch);
    const engine::UniqueFd file_ = fixtures::memory_file(text_);
    const std::unique_ptr<Engine> engine_ = make_engine(256);
    std::vector<Request> requests_ = std::vector<Request>(total);
    std::vector<char> buffer_ = std::vector<char>(total, '.');
    std::vector<std::atomic<int>> reaped_ = std::vector<std::atomic<int>>(total);
    std::atomic<std::size_t> reaped_count_ = 0;

    // Submitted when all are counted, so that nobody waits for one that is reaped, not yet counted.
    std::string last_buffer_ = ".";
    Request last_ = fixtures::read_request(file_.get(), last_buffer_);
};

void test_threads() { Crowd().run(); }

// --- cancelling

void test_cancel_poll() {
    const fixtures::Pipe pipe;
    const auto engine = make_engine();
    auto request = fixtures::poll_request(pipe.reader());
    fixtures::submit(*engine, request);
    check::is_true(engine->cancel(request), "the kernel takes it");
    const auto completions = fixtures::reap(*engine, 1);
    check::equal(completions.at(0).request, &request);
    check::equal(completions.at(0).result, -ECANCELED);
    check::is_true(!engine->cancel(request), "over");

    // the next time it is not cancelled
    pipe.put_byte();
    check::equal(fixtures::complete(*engine, request), POLLIN);
}

void test_cancel_too_late() {
    const fixtures::Pipe pipe;
    pipe.put_byte();
    const auto engine = make_engine();
    auto poll = fixtures::poll_request(pipe.reader());
    fixtures::submit(*engine, poll);
    check::is_true(!engine->cancel(poll), "it has completed");
    check::equal(fixtures::reap(*engine, 1).at(0).result, POLLIN);

    const auto file = fixtures::memory_file("hello");
    std::string buffer(5, '.');
    auto read = fixtures::read_request(file.get(), buffer);
    fixtures::submit(*engine, read);
    check::is_true(!engine->cancel(read), "it has completed");
    check::equal(fixtures::reap(*engine, 1).at(0).result, 5);
}

void test_cancel_what_was_never_submitted() {
    const fixtures::Pipe pipe;
    const auto engine = make_engine();
    auto request = fixtures::poll_request(pipe.reader());
    check::is_true(!engine->cancel(request), "never submitted");
}

void test_cancel_wakes_waiter() {
    const fixtures::Pipe pipe;
    const auto engine = make_engine();
    auto request = fixtures::poll_request(pipe.reader());
    fixtures::submit(*engine, request);
    const auto ticket = engine->ticket();
    auto waiter = std::async(std::launch::async, [&] { return engine->wait(ticket, {}); });
    std::this_thread::sleep_for(2ms);
    check::is_true(engine->cancel(request), "the kernel takes it");
    check::equal(check::get(waiter), 0);
    check::equal(fixtures::reap(*engine, 1).size(), 1);
}

// --- fork

void test_fork() {
    const auto file = fixtures::memory_file("hello");
    const fixtures::Pipe pipe;
    auto engine = make_engine();
    std::string buffer(5, '.');
    auto read = fixtures::read_request(file.get(), buffer);
    auto poll = fixtures::poll_request(pipe.reader());
    fixtures::submit(*engine, read);
    fixtures::submit(*engine, poll);

    const pid_t child = fork();
    if (child == 0) {
        engine.reset();
        // its own works
        const auto childs = make_engine();
        auto again = fixtures::read_request(file.get(), buffer);
        _exit(fixtures::complete(*childs, again) == 5 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    check::equal(status, 0);

    check::equal(fixtures::reap(*engine, 1).at(0).request, &read);
    pipe.put_byte();
    check::equal(fixtures::reap(*engine, 1).at(0).request, &poll);
    check::equal(fixtures::complete(*engine, read), 5);
}

}  // namespace

int main() {
    return fixtures::run_with_kernel_aio({
        {"names of engines", test_names},
        {"more requests than the kernel can queue", test_too_many_requests},
        {"reads and writes", test_transfers},
        {"vectors", test_vectors},
        {"syncs", test_syncs},
        {"a poll", test_poll},
        {"an eventfd that is signalled", test_eventfd},
        {"a request that is refused", test_refused},
        {"nothing to do", test_nothing},
        {"300 requests in one submission", test_many_at_once},
        {"many rounds through a small queue", test_many_rounds},
        {"a full queue", test_full_queue},
        {"time-outs", test_time_out},
        {"waiting for a completion", test_wait_for_completion},
        {"waiting with a completion there", test_wait_with_something_there},
        {"a ticket older than a completion", test_ticket_from_before},
        {"a waiter, and another thread that reaps", test_one_waiter},
        {"several waiters, and another thread that reaps", test_several_waiters},
        {"a signal ends waiting", test_signal},
        {"threads that all submit, wait and reap", test_threads},
        {"cancelling a poll", test_cancel_poll},
        {"cancelling too late", test_cancel_too_late},
        {"cancelling what was never submitted", test_cancel_what_was_never_submitted},
        {"cancelling wakes a waiter", test_cancel_wakes_waiter},
        {"a child process after fork", test_fork},
    });
}
