// SPDX-License-Identifier: Apache-2.0
// The aio engine when libaio's calls fail, or do less than they were asked to.
#include "faulty_libaio.hpp"

#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/aio_engine.hpp"
#include "engine/engine.hpp"
#include "engine/queue_disposal.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::Engine;
using engine::Request;
using faulty_libaio::Call;
using faulty_libaio::inject;
using namespace std::chrono_literals;

void wait_for_destroyed() {
    while (engine::wait_for_more_destroyed(engine::destroyed_queues())) {
    }
}

std::unique_ptr<Engine> make_engine(unsigned max_requests = 128) {
    faulty_libaio::clear();
    return fixtures::make_engine(max_requests);
}

// Reads of a file, one byte each, and what became of them.
class Reads {
public:
    explicit Reads(std::size_t count, engine::UniqueFd file = fixtures::memory_file(""))
        : text_(count, 'a'), buffer_(count, '.'), file_(std::move(file)) {
        fixtures::put(file_.get(), text_);
        requests_ = fixtures::byte_reads(file_.get(), buffer_);
        addresses_ = fixtures::addresses(requests_);
    }

    const Request& front() const { return requests_.front(); }

    // From the one with that number on.
    engine::Submission submit(Engine& engine, std::size_t first = 0) {
        const auto rest = std::span(addresses_).subspan(first);
        engine.plan(rest, std::nullopt);
        return engine.submit(rest);
    }

    // The first `count`, those of earlier checks included, complete, and no others.
    void expect_completed(Engine& engine, std::size_t count,
                          check::Where where = check::Where::current()) {
        const auto completions = fixtures::reap(engine, count - completed_);
        check::equal(completed_ + completions.size(), count, where);
        completed_ = count;
        for (const auto& completion : completions) {
            check::equal(completion.result, 1, where);
        }
        engine::Completion another;
        check::equal(engine.reap({&another, 1}), 0, where);
        const auto left = text_.size() - count;
        check::equal(buffer_, std::string(count, 'a') + std::string(left, '.'), where);
    }

private:
    std::string text_;
    std::string buffer_;
    engine::UniqueFd file_;
    std::vector<Request> requests_;
    std::vector<Request*> addresses_;
    std::size_t completed_ = 0;
};

void expect_submission(engine::Submission actual, std::size_t taken, int error,
                       check::Where where = check::Where::current()) {
    check::equal(actual.taken, taken, where);
    check::equal(actual.error, error, where);
}

// --- the shim itself

void test_shim() {
    faulty_libaio::clear();
    inject(Call::submit, {.error = EINVAL, .after = 1, .times = 2});
    inject(Call::submit, {.error = ENOMEM});
    const auto submit_nothing = [] { return libaio::calls.submit(nullptr, 1, nullptr); };
    io_context_t context = nullptr;
    check::equal(libaio::calls.setup(1, &context), 0);
    std::array<iocb*, 1> requests{};
    check::equal(libaio::calls.submit(context, 0, requests.data()), 0);  // passed over
    for (const int error : {EINVAL, EINVAL, ENOMEM}) {
        check::equal(submit_nothing(), -error);
    }
    check::equal(libaio::calls.submit(context, 0, requests.data()), 0);
    check::equal(faulty_libaio::count(Call::submit), 5);
    check::equal(faulty_libaio::count(Call::setup), 1);

    inject(Call::submit, {.error = EIO, .times = faulty_libaio::for_ever});
    for (int i = 0; i < 10; ++i) {
        check::equal(submit_nothing(), -EIO);
    }
    faulty_libaio::clear();
    check::equal(libaio::calls.submit(context, 0, requests.data()), 0);
    check::equal(faulty_libaio::count(Call::submit), 1);
    check::equal(libaio::calls.destroy(context), 0);

    check::is_true(faulty_libaio::call_named("getevents") == Call::getevents, "a call by its name");
    check::is_true(!faulty_libaio::call_named("nonsense"), "no such call");
}

// --- io_setup

void test_setup() {
    for (const int error : {EAGAIN, ENOMEM, EINVAL, ENOSYS, EPERM}) {
        wait_for_destroyed();
        faulty_libaio::clear();
        inject(Call::setup, {.error = error});
        int refusal = 0;
        check::is_true(engine::open_engine("aio", 8, refusal) == nullptr, "no engine");
        check::equal(refusal, error);
        check::equal(faulty_libaio::count(Call::destroy), 0);
    }
    check::is_true(make_engine() != nullptr, "the next one is made");
}

// --- io_submit

void test_refused_submission() {
    for (const int error : {EAGAIN, EINTR, ENOMEM, EINVAL}) {
        const auto engine = make_engine();
        Reads reads(10);
        inject(Call::submit, {.error = error});
        expect_submission(reads.submit(*engine), 0, error);
        check::equal(faulty_libaio::count(Call::submit), 1);
        reads.expect_completed(*engine, 0);
        expect_submission(reads.submit(*engine), 10, 0);
        reads.expect_completed(*engine, 10);
    }
}

void test_short_submission() {
    for (const int most : {1, 3, 9}) {
        const auto engine = make_engine();
        Reads reads(10);
        const auto taken = static_cast<std::size_t>(most);
        inject(Call::submit, {.at_most = most});
        expect_submission(reads.submit(*engine), taken, 0);
        // why it was short is asked by whoever submits the rest
        check::equal(faulty_libaio::count(Call::submit), 1);
        reads.expect_completed(*engine, taken);
        expect_submission(reads.submit(*engine, taken), 10 - taken, 0);
        reads.expect_completed(*engine, 10);
    }
}

// 300 requests go to the kernel in batches of 128, 128 and 44.

void test_second_batch_refused() {
    for (const int error : {EAGAIN, EINTR, ENOMEM, EINVAL}) {
        const auto engine = make_engine(300);
        Reads reads(300);
        inject(Call::submit, {.error = error, .after = 1});
        expect_submission(reads.submit(*engine), 128, 0);
        check::equal(faulty_libaio::count(Call::submit), 2);
        reads.expect_completed(*engine, 128);
        expect_submission(reads.submit(*engine, 128), 172, 0);
        reads.expect_completed(*engine, 300);
    }
}

void test_second_batch_short() {
    const auto engine = make_engine(300);
    Reads reads(300);
    inject(Call::submit, {.at_most = 5, .after = 1});
    expect_submission(reads.submit(*engine), 133, 0);
    check::equal(faulty_libaio::count(Call::submit), 2);
    reads.expect_completed(*engine, 133);
    expect_submission(reads.submit(*engine, 133), 167, 0);
    reads.expect_completed(*engine, 300);
}

void test_first_batch_short() {
    const auto engine = make_engine(300);
    Reads reads(300);
    inject(Call::submit, {.at_most = 127});
    expect_submission(reads.submit(*engine), 127, 0);
    check::equal(faulty_libaio::count(Call::submit), 1);
    reads.expect_completed(*engine, 127);
}

void test_last_batch_short() {
    const auto engine = make_engine(300);
    Reads reads(300);
    inject(Call::submit, {.at_most = 43, .after = 2});
    expect_submission(reads.submit(*engine), 299, 0);
    reads.expect_completed(*engine, 299);
}

// Buffered reads of a disk go to the kernel two at a time.

void test_small_batches() {
    for (const int error : {EAGAIN, EINTR, ENOMEM}) {
        const auto engine = make_engine();
        Reads reads(10, fixtures::file_on_disk());
        inject(Call::submit, {.error = error, .after = 1});
        expect_submission(reads.submit(*engine), 2, 0);
        reads.expect_completed(*engine, 2);

        inject(Call::submit, {.at_most = 1, .after = 2});
        expect_submission(reads.submit(*engine, 2), 5, 0);
        reads.expect_completed(*engine, 7);

        inject(Call::submit, {.error = error});
        expect_submission(reads.submit(*engine, 7), 0, error);
        const auto calls_before = faulty_libaio::count(Call::submit);
        expect_submission(reads.submit(*engine, 7), 3, 0);
        check::equal(faulty_libaio::count(Call::submit) - calls_before, 2);
        reads.expect_completed(*engine, 10);
    }
}

// --- io_getevents

void test_failed_wait() {
    for (const int error : {EINTR, EINVAL, ENOMEM}) {
        const auto engine = make_engine();
        Reads reads(1);
        inject(Call::getevents, {.error = error});
        check::equal(engine->wait(engine->ticket(), {}), error);
        reads.submit(*engine);
        check::equal(engine->wait(engine->ticket(), {}), 0);
        reads.expect_completed(*engine, 1);
    }
}

// Without the ring a failure to take events is as good as none being there.
void test_failure_to_take() {
    setenv("LINUX_AIO_USER_RING", "0", 1);
    const auto engine = make_engine();
    unsetenv("LINUX_AIO_USER_RING");
    Reads reads(10);
    reads.submit(*engine);
    inject(Call::getevents, {.error = EINTR, .times = 3});
    std::array<engine::Completion, 10> completions;
    check::equal(engine->reap(completions), 0);
    check::equal(engine->wait(engine->ticket(), {}), 0);
    reads.expect_completed(*engine, 10);
}

void test_few_at_a_time() {
    setenv("LINUX_AIO_USER_RING", "0", 1);
    const auto engine = make_engine();
    unsetenv("LINUX_AIO_USER_RING");
    Reads reads(10);
    reads.submit(*engine);
    inject(Call::getevents, {.at_most = 3, .times = 2});
    std::array<engine::Completion, 10> completions;
    check::equal(engine->reap(completions), 3);
    check::equal(engine->reap(completions), 3);
    check::equal(engine->reap(completions), 4);
}

// A thread that the kernel has woken, but that is not out of io_getevents yet, stands in the way:
// the ring can't be given back under it. Here it stays inside until the test lets it go.

std::latch* let_go = nullptr;
std::atomic<bool> is_inside = false;

int held_getevents(io_context_t /*context*/, long /*min_nr*/, long /*nr*/, io_event* /*events*/,
                   timespec* /*timeout*/) {
    is_inside = true;
    let_go->wait();
    return -EFAULT;
}

class HeldWaiter {
public:
    explicit HeldWaiter(Engine& engine) {
        let_go = &latch_;
        is_inside = false;
        libaio::calls.getevents = held_getevents;
        waiter_ = std::async(std::launch::async, [&engine, ticket = engine.ticket()] {
            return engine.wait(ticket, {});
        });
        while (!is_inside) {
            std::this_thread::yield();
        }
        libaio::calls.getevents = getevents_;
    }

    void release() {
        latch_.count_down();
        check::equal(check::get(waiter_), 0);
    }

private:
    std::latch latch_{1};
    decltype(libaio::calls.getevents) getevents_ = libaio::calls.getevents;
    std::future<int> waiter_;
};

// The kernel refuses for want of places, or stops short.
void test_places_held_by_waiter(const faulty_libaio::Fault& fault) {
    const auto engine = make_engine();
    HeldWaiter waiter(*engine);
    Reads reads(2);
    reads.submit(*engine);
    reads.expect_completed(*engine, 2);
    inject(Call::submit, fault);
    Reads more(2);
    const auto calls_before = faulty_libaio::count(Call::submit);
    auto submitter = std::async(std::launch::async, [&] { return more.submit(*engine); });
    while (faulty_libaio::count(Call::submit) == calls_before) {
        std::this_thread::yield();
    }
    check::is_true(submitter.wait_for(20ms) == std::future_status::timeout,
                   "submits though no place can be free");
    waiter.release();
    expect_submission(check::get(submitter), 2, 0);
    more.expect_completed(*engine, 2);
}

void test_refusal_for_want_of_places() { test_places_held_by_waiter({.error = EAGAIN}); }
void test_shortness_for_want_of_places() { test_places_held_by_waiter({.at_most = 1}); }

// The waiter leaves, and the places are given back, just after the kernel found none free.

HeldWaiter* leaving = nullptr;
decltype(libaio::calls.submit) shims_submit = nullptr;

int submit_while_waiter_leaves(io_context_t context, long count, iocb** requests) {
    libaio::calls.submit = shims_submit;
    const int status = shims_submit(context, count, requests);
    leaving->release();
    return status;
}

void test_places_given_back_meanwhile(const faulty_libaio::Fault& fault) {
    const auto engine = make_engine();
    HeldWaiter waiter(*engine);
    Reads reads(2);
    reads.submit(*engine);
    reads.expect_completed(*engine, 2);
    inject(Call::submit, fault);
    leaving = &waiter;
    shims_submit = std::exchange(libaio::calls.submit, submit_while_waiter_leaves);
    Reads more(2);
    expect_submission(more.submit(*engine), 2, 0);
    more.expect_completed(*engine, 2);
}

void test_refusal_just_before_places() { test_places_given_back_meanwhile({.error = EAGAIN}); }
void test_shortness_just_before_places() { test_places_given_back_meanwhile({.at_most = 1}); }

void test_second_waiter() {
    const auto engine = make_engine();
    HeldWaiter first(*engine);
    Reads reads(2);
    reads.submit(*engine);
    reads.expect_completed(*engine, 2);
    const auto calls_before = faulty_libaio::count(Call::getevents);
    auto second = std::async(std::launch::async,
                             [&, ticket = engine->ticket()] { return engine->wait(ticket, 10ms); });
    // It does not sleep with the ring as it is, where the kernel would see events and not wait.
    check::is_true(second.wait_for(50ms) == std::future_status::timeout, "waits for nothing");
    check::equal(faulty_libaio::count(Call::getevents), calls_before);
    first.release();
    check::equal(check::get(second), ETIMEDOUT);
}

// --- fork

void test_child() {
    wait_for_destroyed();  // those of earlier checks
    auto engine = make_engine();
    const pid_t child = fork();
    if (child == 0) {
        engine.reset();
        _exit(static_cast<int>(faulty_libaio::count(Call::destroy)));
    }
    int status = -1;
    waitpid(child, &status, 0);
    check::equal(status, 0);
    engine.reset();
    wait_for_destroyed();
    check::equal(faulty_libaio::count(Call::destroy), 1);
}

// --- io_destroy

std::atomic<bool> may_destroy{false};
std::atomic<int> destroyed_by_closer{0};
std::thread::id closer;
int (*real_destroy)(io_context_t) = nullptr;

int held_destroy(io_context_t context) {
    if (std::this_thread::get_id() == closer) {
        ++destroyed_by_closer;
    } else {
        while (!may_destroy) {
            std::this_thread::sleep_for(1ms);
        }
    }
    return real_destroy(context);
}

// Nothing is destroyed before release().
class HeldDestruction {
public:
    HeldDestruction() {
        wait_for_destroyed();
        faulty_libaio::clear();
        may_destroy = false;
        destroyed_by_closer = 0;
        closer = std::this_thread::get_id();
        real_destroy = std::exchange(libaio::calls.destroy, held_destroy);
    }
    HeldDestruction(const HeldDestruction&) = delete;
    HeldDestruction& operator=(const HeldDestruction&) = delete;
    ~HeldDestruction() {
        release();
        wait_for_destroyed();
        libaio::calls.destroy = real_destroy;
    }

    static void release() { may_destroy = true; }
};

int (*real_setup)(int, io_context_t*) = nullptr;
std::uint64_t expected_destroyed = 0;

constexpr int many = 200;  // more than threads that destroy

// All at once, so that none takes over the queue of another.
void close_many() {
    std::vector<std::unique_ptr<Engine>> engines(many);
    std::ranges::generate(engines, [] { return fixtures::make_engine(1); });
}

void test_many_queues_to_destroy() {
    const HeldDestruction held;
    close_many();
    check::equal(destroyed_by_closer.load(), 0);
}

void test_queues_that_are_used_again() {
    const HeldDestruction held;
    for (int i = 0; i < many; ++i) {
        const auto engine = fixtures::make_engine(10);
        Reads reads(10);
        expect_submission(reads.submit(*engine), 10, 0);
        reads.expect_completed(*engine, 10);
    }
    check::is_true(faulty_libaio::count(Call::setup) < many / 4, "few queues are made");
}

// As many queues as there are threads that destroy are closed first, so that no thread takes the
// queue that is meant.
void test_a_queue_with_an_event_is_not_used_again() {
    const HeldDestruction held;
    close_many();
    Reads reads(1);
    {
        const auto engine = fixtures::make_engine(2);
        expect_submission(reads.submit(*engine), 1, 0);
        check::equal(engine->wait(engine->ticket(), {}), 0);
    }
    const auto made_before = faulty_libaio::count(Call::setup);
    const auto engine = fixtures::make_engine(2);
    check::equal(faulty_libaio::count(Call::setup), made_before + 1);
    engine::Completion completion;
    check::equal(engine->reap({&completion, 1}), 0);
}

void test_another_size_is_not_used_again() {
    const HeldDestruction held;
    for (unsigned size = 1; size <= many; ++size) {
        check::is_true(fixtures::make_engine(size) != nullptr, "is made");
    }
    check::equal(faulty_libaio::count(Call::setup), many);
}

int refuse_until_destroyed(int max_requests, io_context_t* context) {
    HeldDestruction::release();
    return engine::destroyed_queues() < expected_destroyed ? -EAGAIN
                                                           : real_setup(max_requests, context);
}

// fs.aio-max-nr is used up by queues of this process that wait to be destroyed.
void test_a_queue_that_has_to_wait_for_others() {
    const HeldDestruction held;
    close_many();
    expected_destroyed = engine::destroyed_queues() + many / 2;
    real_setup = std::exchange(libaio::calls.setup, refuse_until_destroyed);
    const auto engine = fixtures::make_engine(2);
    check::is_true(engine::destroyed_queues() >= expected_destroyed, "it has waited");
    libaio::calls.setup = real_setup;
}

// --- io_cancel

void test_failed_cancellation() {
    const auto engine = make_engine();
    const fixtures::Pipe pipe;
    auto request = fixtures::poll_request(pipe.reader());
    fixtures::submit(*engine, request);
    for (const int error : {EAGAIN, EINVAL, ENOSYS}) {
        inject(Call::cancel, {.error = error});
        check::is_true(!engine->cancel(request), "the kernel did not take it");
    }
    pipe.put_byte();
    check::equal(fixtures::reap(*engine, 1).at(0).result, POLLIN);
}

// One that found no room does not keep the next from being heard.
void test_a_waker_that_is_refused() {
    faulty_libaio::clear();
    const engine::UniqueFd ready(fixtures::succeeded(eventfd(0, EFD_CLOEXEC)));
    engine::AioEngine engine(8, engine::AtLimit::wait);
    const std::atomic<int> number = ready.get();
    engine.set_waker(number);
    inject(Call::submit, {.error = EAGAIN});
    engine.wake();
    check::equal(faulty_libaio::count(Call::submit), 1);
    const auto ticket = engine.ticket();
    check::equal(engine.wait(ticket, 1ms), ETIMEDOUT);
    engine.wake();
    check::equal(faulty_libaio::count(Call::submit), 2);
    check::equal(engine.wait(ticket, check::patience), 0);
    engine::Completion none;
    check::equal(engine.reap({&none, 1}), 0);  // nobody's
    faulty_libaio::clear();
}

}  // namespace

int main() {
    unsetenv("LINUX_AIO_USER_RING");
    faulty_libaio::install(libaio::calls);
    return fixtures::run_with_kernel_aio({
        {"the shim", test_shim},
        {"io_setup fails", test_setup},
        {"io_submit fails", test_refused_submission},
        {"io_submit falls short", test_short_submission},
        {"io_submit fails at the second batch", test_second_batch_refused},
        {"io_submit falls short at the second batch", test_second_batch_short},
        {"io_submit falls short at the first of several batches", test_first_batch_short},
        {"io_submit falls short at the last of several batches", test_last_batch_short},
        {"io_submit fails and falls short in small batches", test_small_batches},
        {"io_getevents fails", test_failed_wait},
        {"io_getevents fails to take events", test_failure_to_take},
        {"io_getevents takes few", test_few_at_a_time},
        {"refused for places held for a waiter on its way out", test_refusal_for_want_of_places},
        {"short for places held for a waiter on its way out", test_shortness_for_want_of_places},
        {"refused just before places were given back", test_refusal_just_before_places},
        {"short just before places were given back", test_shortness_just_before_places},
        {"a waiter waits for another one to be out", test_second_waiter},
        {"io_destroy is not called in a child process", test_child},
        {"closing many queues destroys none at once", test_many_queues_to_destroy},
        {"queues are used again", test_queues_that_are_used_again},
        {"no queue with an event is used again", test_a_queue_with_an_event_is_not_used_again},
        {"no queue of another size is used again", test_another_size_is_not_used_again},
        {"a queue has to wait for others", test_a_queue_that_has_to_wait_for_others},
        {"io_cancel fails", test_failed_cancellation},
        {"a waker that is refused", test_a_waker_that_is_refused},
    });
}
