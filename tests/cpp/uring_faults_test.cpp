// SPDX-License-Identifier: Apache-2.0
// Faults in the calls to io_uring: whatever they are, each request completes exactly once, with its
// own result, and signals its eventfd once.
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <map>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/reactors.hpp"
#include "engine/unique_fd.hpp"
#include "engine/uring_calls.hpp"
#include "fixtures.hpp"

namespace {

using engine::Request;

const engine::UringCalls real = engine::uring_calls;

// What goes wrong; the reactor's thread looks at it.
struct Faults {
    std::atomic<int> error = 0;  // of every `every`-th call that submits
    std::atomic<unsigned> every = 2;
    std::atomic<unsigned> at_most = ~0U;  // entries that are submitted at once
    std::atomic<unsigned> ring_size = 0;  // in place of what was asked for
    std::atomic<int> setup_error = 0;
    std::atomic<unsigned> setups_until = 0;  // so many succeed first
    std::atomic<unsigned> refusals = ~0U;    // then so many are refused
    std::atomic<unsigned> calls = 0;
    std::atomic<bool> are_mixed = false;  // any of them, or none, at each call
};

Faults faults;

void clear_faults() {
    faults.error = 0;
    faults.every = 2;
    faults.at_most = ~0U;
    faults.ring_size = 0;
    faults.setup_error = 0;
    faults.setups_until = 0;
    faults.refusals = ~0U;
    faults.calls = 0;
    faults.are_mixed = false;
}

bool is_to_fail() { return faults.error != 0 && ++faults.calls % faults.every == 0; }

// The order differs from call to call, not from run to run.
void mix_faults() {
    if (!faults.are_mixed) {
        return;
    }
    static std::minstd_rand random(1);  // the reactor's thread alone comes here
    constexpr std::array errors{0, 0, 0, EAGAIN, EBUSY, EINTR};
    constexpr std::array limits{~0U, ~0U, 0U, 1U, 5U};
    faults.every = 1;
    faults.error = errors[random() % errors.size()];
    faults.at_most = limits[random() % limits.size()];
}

// Hides the entries beyond the first ones from liburing for the time of a call.
class Shortened {
public:
    explicit Shortened(io_uring* ring) : ring_(ring), tail_(ring->sq.sqe_tail) {
        if (ring->sq.sqe_tail - ring->sq.sqe_head > faults.at_most) {
            ring->sq.sqe_tail = ring->sq.sqe_head + faults.at_most;
        }
    }
    Shortened(const Shortened&) = delete;
    Shortened& operator=(const Shortened&) = delete;
    ~Shortened() { ring_->sq.sqe_tail = tail_; }

private:
    io_uring* ring_;
    unsigned tail_;
};

int set_up(unsigned entries, io_uring* ring, io_uring_params* parameters) {
    if (faults.setup_error != 0) {
        if (faults.setups_until != 0) {
            --faults.setups_until;
        } else if (faults.refusals != 0) {
            --faults.refusals;
            return -faults.setup_error;
        }
    }
    if (faults.ring_size != 0) {
        parameters->cq_entries = faults.ring_size;
        entries = faults.ring_size;
    }
    return real.queue_init_params(entries, ring, parameters);
}

int submit(io_uring* ring) {
    mix_faults();
    if (is_to_fail()) {
        return -faults.error;
    }
    const Shortened shortened(ring);
    return real.submit(ring);
}

int submit_and_wait(io_uring* ring, io_uring_cqe** completion, unsigned count,
                    __kernel_timespec* timeout, sigset_t* signals) {
    mix_faults();
    if (is_to_fail()) {
        return -faults.error;
    }
    // With entries left over it is not to sleep long.
    const Shortened shortened(ring);
    __kernel_timespec soon{.tv_sec = 0, .tv_nsec = 1'000'000};
    const bool is_short = faults.at_most != ~0U;
    return real.submit_and_wait_timeout(ring, completion, count, is_short ? &soon : timeout,
                                        signals);
}

std::unique_ptr<engine::Engine> open(std::string_view name) {
    int error = 0;
    auto engine = engine::open_engine(name, 1024, error);
    if (engine == nullptr) {
        throw check::Skipped("no engine here: errno " + std::to_string(error));
    }
    return engine;
}

std::uint64_t value_of(int eventfd) {
    std::uint64_t value = 0;
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    pollfd look{.fd = eventfd, .events = POLLIN, .revents = 0};
    while (value == 0 && std::chrono::steady_clock::now() < deadline) {
        if (poll(&look, 1, 10) == 1) {
            [[maybe_unused]] const auto size = read(eventfd, &value, sizeof value);
        }
    }
    return value;
}

// More reads than there are entries, polls between them, some of which are cancelled.
void churn(engine::Engine& engine) {
    constexpr std::size_t size = 600;
    std::string contents(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        contents[i] = static_cast<char>('a' + i % 26);
    }
    const auto file = fixtures::memory_file(contents);
    const engine::UniqueFd signals(fixtures::succeeded(eventfd(0, EFD_CLOEXEC)));
    const fixtures::Pipe pipe;
    std::string buffer(size, '.');
    auto requests = fixtures::byte_reads(file.get(), buffer);
    constexpr std::size_t polls = 40;
    for (std::size_t i = 0; i < polls; ++i) {
        requests.push_back(fixtures::poll_request(pipe.reader()));
    }
    for (auto& request : requests) {
        request.eventfd = signals.get();
    }
    const auto all = fixtures::addresses(requests);
    engine.plan(all, {});
    std::size_t taken = 0;
    while (taken < all.size()) {
        const auto submission = engine.submit(std::span(all).subspan(taken));
        if (submission.taken == 0) {
            check::equal(submission.error, 0);
            break;
        }
        taken += submission.taken;
    }
    std::size_t cancelled = 0;
    for (std::size_t i = size; i < size + polls / 2; ++i) {
        cancelled += engine.cancel(requests[i]) ? 1 : 0;
    }
    pipe.put_byte();
    std::map<Request*, int> seen;
    std::size_t ended_as_cancelled = 0;
    for (const auto& completion : fixtures::reap(engine, taken)) {
        ++seen[completion.request];
        const bool is_poll = completion.request->opcode == engine::Opcode::poll;
        if (is_poll && completion.result == -ECANCELED) {
            ++ended_as_cancelled;
        } else {
            static_assert(POLLIN == 1);  // what a poll finds, and how much a read reads
            check::equal(completion.result, 1);
        }
    }
    check::equal(seen.size(), requests.size());
    check::equal(ended_as_cancelled, cancelled);
    check::is_true(buffer == contents, "all bytes were read to where they belong");
    std::uint64_t signalled = 0;
    while (signalled < seen.size()) {
        const auto more = value_of(signals.get());
        if (more == 0) {
            break;
        }
        signalled += more;
    }
    check::equal(signalled, requests.size());
    engine::Completion none;
    check::equal(engine.reap({&none, 1}), 0);
}

// What one of several threads has in flight. It waits for its eventfd; whoever reaps, counts.
class Share {
public:
    explicit Share(unsigned seed) : random_(seed) {
        for (std::size_t i = 0; i < size; ++i) {
            requests_.push_back(i % 8 == 0 ? fixtures::poll_request(pipe_.reader())
                                           : fixtures::read_request(file_.get(), byte(i), i));
            requests_.back().eventfd = signals_.get();
        }
    }

    // In groups of any size, with a cancellation after each.
    void submit(engine::Engine& engine) {
        for (std::size_t done = 0; done < size;) {
            const auto count = std::min<std::size_t>(1 + random_() % 40, size - done);
            const auto group = fixtures::addresses(std::span(requests_).subspan(done, count));
            engine.plan(group, {});
            const auto submission = engine.submit(group);
            check::equal(submission.error, 0);
            if (submission.taken == 0) {
                return;
            }
            done += submission.taken;
            const auto victim = random_() % done;
            was_cancelled_[victim] = engine.cancel(requests_[victim]) || was_cancelled_[victim];
        }
        pipe_.put_byte();
    }

    void check_signals() const {
        std::uint64_t signalled = 0;
        while (signalled < size) {
            const auto more = value_of(signals_.get());
            if (more == 0) {
                break;
            }
            signalled += more;
        }
        check::equal(signalled, size);
    }

    void check_results(const std::map<Request*, std::vector<std::int64_t>>& results) {
        for (std::size_t i = 0; i < size; ++i) {
            const auto found = results.find(&requests_[i]);
            const auto times = found == results.end() ? 0 : found->second.size();
            check::equal(times, 1);
            if (times == 1) {
                check_result(i, found->second[0]);
            }
        }
    }

    static constexpr std::size_t size = 500;

private:
    void check_result(std::size_t i, std::int64_t result) {
        if (was_cancelled_[i] || result == -ECANCELED) {
            check::equal(result, -ECANCELED);
            return;
        }
        check::equal(result, 1);  // a byte, or POLLIN
        const bool is_read = engine::is_read(requests_[i].opcode);
        check::is_true(!is_read || byte(i)[0] == contents_[i], "its own byte");
    }

    std::span<char> byte(std::size_t i) { return std::span(buffer_).subspan(i, 1); }

    static std::string make_contents() {
        std::string contents(size, '\0');
        std::ranges::generate(contents, [i = 0]() mutable { return 'a' + i++ % 26; });
        return contents;
    }

    std::minstd_rand random_;
    std::string contents_ = make_contents();
    engine::UniqueFd file_ = fixtures::memory_file(contents_);
    engine::UniqueFd signals_{fixtures::succeeded(eventfd(0, EFD_CLOEXEC))};
    fixtures::Pipe pipe_;
    std::string buffer_ = std::string(size, '.');
    std::vector<Request> requests_;
    std::array<bool, size> was_cancelled_{};
};

void churn_in_threads(engine::Engine& engine) {
    constexpr std::size_t count = 3;
    std::array<Share, count> shares{Share(1), Share(2), Share(3)};
    std::vector<std::thread> threads;
    threads.reserve(count);
    for (auto& share : shares) {
        threads.emplace_back([&] { share.submit(engine); });
    }
    std::map<Request*, std::vector<std::int64_t>> results;
    for (const auto& completion : fixtures::reap(engine, count * Share::size)) {
        results[completion.request].push_back(completion.result);
    }
    for (auto& thread : threads) {
        thread.join();
    }
    for (auto& share : shares) {
        share.check_signals();
        share.check_results(results);
    }
    engine::Completion none;
    check::equal(engine.reap({&none, 1}), 0);
}

void test_errors() {
    for (const int error : {EAGAIN, EBUSY, EINTR, ENOMEM, EINVAL}) {
        for (const unsigned every : {2U, 3U, 7U}) {
            clear_faults();
            const auto engine = open("uring");
            faults.every = every;
            faults.error = error;
            churn(*engine);
            clear_faults();
        }
    }
}

void test_short_submissions() {
    for (const unsigned at_most : {1U, 3U, 100U}) {
        clear_faults();
        const auto engine = open("uring");
        faults.at_most = at_most;
        churn(*engine);
        faults.error = EAGAIN;
        churn(*engine);
        clear_faults();
    }
}

void test_overflow_of_completions() {
    for (const unsigned size : {2U, 8U}) {
        clear_faults();
        const auto engine = open("uring");
        faults.ring_size = size;
        churn(*engine);
        clear_faults();
    }
}

// From several threads, and with pauses in which the reactor ends.
void test_mixed_faults() {
    clear_faults();
    const auto engine = open("uring");
    for (int round = 0; round < 3; ++round) {
        faults.are_mixed = true;
        churn_in_threads(*engine);
        std::this_thread::sleep_for(std::chrono::milliseconds(99 + round));
    }
    clear_faults();
}

// The poll ends first, and the reactor has nothing else to do.
void test_a_cancellation_that_the_kernel_does_not_take_for_long() {
    clear_faults();
    const auto engine = open("uring");
    const fixtures::Pipe pipe;
    auto poll = fixtures::poll_request(pipe.reader());
    check::equal(fixtures::submit(*engine, poll).taken, 1);
    auto ready = fixtures::poll_request(pipe.writer());
    ready.poll_events = POLLOUT;
    check::equal(fixtures::complete(*engine, ready), POLLOUT);
    faults.at_most = 0;
    auto cancelled = std::async(std::launch::async, [&] { return engine->cancel(poll); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pipe.put_byte();
    const auto completions = fixtures::reap(*engine, 1);
    check::equal(completions.size(), 1);
    check::equal(completions.empty() ? 0 : completions[0].result, POLLIN);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    clear_faults();
    check::is_true(!check::get(cancelled), "the poll was over");
}

// Nothing is submitted, until all entries are used.
void test_a_full_ring() {
    clear_faults();
    const auto engine = open("uring");
    const fixtures::Pipe pipe;
    std::array<int, 2> ends{};
    fixtures::succeeded(::pipe(ends.data()));
    const engine::UniqueFd reader(ends[0]);
    engine::UniqueFd writer(ends[1]);
    std::vector<Request> polls(300, fixtures::poll_request(pipe.reader()));
    auto& last = polls.back();
    last = fixtures::poll_request(writer.get());
    auto first = fixtures::poll_request(pipe.reader());
    check::equal(fixtures::submit(*engine, first).taken, 1);
    faults.every = 1;
    faults.error = EAGAIN;
    const auto all = fixtures::addresses(polls);
    engine->plan(all, {});
    std::size_t taken = 0;
    while (taken < all.size()) {
        taken += engine->submit(std::span(all).subspan(taken)).taken;
    }
    {
        const engine::UniqueFd closed = std::move(writer);
    }
    // it is full once as much was to be submitted, eight by eight
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    while (faults.calls < 100 && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    check::is_true(engine->cancel(last), "it waits for an entry");
    // the last of its file is closed without an entry
    pollfd look{.fd = reader.get(), .events = POLLIN, .revents = 0};
    check::equal(poll(&look, 1, 20'000), 1);  // POLLHUP
    check::is_true(!engine->cancel(first), "there is no entry to cancel it with");
    clear_faults();
    pipe.put_byte();
    std::map<Request*, std::int64_t> results;
    for (const auto& completion : fixtures::reap(*engine, polls.size() + 1)) {
        results[completion.request] = completion.result;
    }
    check::equal(results.size(), polls.size() + 1);
    for (const auto& [request, result] : results) {
        check::equal(result, request == &last ? -ECANCELED : POLLIN);
    }
}

void test_a_ring_that_is_refused() {
    for (const int error : {ENOSYS, EPERM, EMFILE}) {
        clear_faults();
        faults.setup_error = error;
        check::equal(engine::probe_engine("uring"), error);
        int found = 0;
        check::is_true(engine::open_engine("uring", 8, found) == nullptr, "it is refused");
        check::equal(found, error);
    }
    clear_faults();
}

// The memory of closed rings counts until the kernel has destroyed them.
void test_a_ring_for_which_there_is_no_memory_yet() {
    clear_faults();
    faults.setup_error = ENOMEM;
    faults.refusals = 5;
    check::equal(engine::probe_engine("uring"), 0);
    const auto engine = open("uring");
    const auto file = fixtures::memory_file("data");
    std::string buffer(4, '.');
    auto read = fixtures::read_request(file.get(), buffer);
    Request* const address = &read;
    engine->plan({&address, 1}, {});
    check::equal(fixtures::complete(*engine, read), 4);
    check::equal(buffer, "data");
    check::equal(faults.refusals.load(), 0U);
    clear_faults();
}

// After it was found to be there.
void test_a_ring_that_is_refused_later() {
    clear_faults();
    const auto engine = open("uring");
    faults.setup_error = ENOMEM;
    const auto file = fixtures::memory_file("data");
    std::string buffer(4, '.');
    auto read = fixtures::read_request(file.get(), buffer);
    Request* const address = &read;
    engine->plan({&address, 1}, {});
    check::equal(fixtures::complete(*engine, read), -ENOMEM);
    engine::Completion none;
    check::equal(engine->reap({&none, 1}), 0);
    clear_faults();
}

void test_auto_goes_on_without_it() {
    for (const int error : {ENOSYS, EPERM, ENOMEM}) {
        for (const unsigned succeed : {0U, 1U}) {
            clear_faults();
            faults.setup_error = error;
            faults.setups_until = succeed;
            const auto engine = open("auto");
            churn(*engine);
            const fixtures::Pipe pipe;
            std::string buffer(4, '.');
            auto read = fixtures::read_request(pipe.reader(), buffer);
            Request* const address = &read;
            engine->plan({&address, 1}, {});
            check::equal(fixtures::submit(*engine, read).taken, 1);
            pipe.put_byte();
            const auto completions = fixtures::reap(*engine, 1);
            check::equal(completions.size(), 1);
            check::equal(completions.empty() ? 0 : completions[0].result, 1);
        }
    }
    clear_faults();
}

}  // namespace

int main() {
    if (!fixtures::has_uring()) {
        std::cout << "skipped: no io_uring here\n";
        return check::skipped_status;
    }
    engine::uring_calls = {
        .queue_init_params = set_up,
        .submit = submit,
        .submit_and_wait_timeout = submit_and_wait,
    };
    return check::run({
        {"errors of submissions", test_errors},
        {"short submissions", test_short_submissions},
        {"more completions than there is room for", test_overflow_of_completions},
        {"faults of all kinds in one", test_mixed_faults},
        {"a cancellation that is not taken for long",
         test_a_cancellation_that_the_kernel_does_not_take_for_long},
        {"a full ring", test_a_full_ring},
        {"a ring that is refused", test_a_ring_that_is_refused},
        {"a ring for which there is no memory yet", test_a_ring_for_which_there_is_no_memory_yet},
        {"a ring that is refused later", test_a_ring_that_is_refused_later},
        {"auto goes on without it", test_auto_goes_on_without_it},
    });
}
