// SPDX-License-Identifier: Apache-2.0
// Threads of ours, with each reactor: what is cancelled, when it is only queued, waits, or is over.
#include <poll.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <string>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/request.hpp"
#include "fixtures.hpp"
#include "pool_fixtures.hpp"

namespace {

using engine::Request;
using engine::Route;
using pool_fixtures::contents_of;
using pool_fixtures::go_through_reactor;
using pool_fixtures::is_readable;
using pool_fixtures::make_eventfd;
using pool_fixtures::nothing_more;
using pool_fixtures::open;
using pool_fixtures::result_of;
using pool_fixtures::results_of;
using pool_fixtures::signals_of;
using pool_fixtures::StoppedReactor;
using pool_fixtures::submit_all;
using pool_fixtures::sync_request;

// As fixtures::submit, whatever the route of transfers is.
std::size_t submit_to_reactor(engine::Engine& engine, Request& request) {
    Request* const address = &request;
    engine.plan({&address, 1}, {});
    request.route = Route::reactor;
    return engine.submit({&address, 1}).taken;
}

bool cancel_if_endless(engine::Engine& engine, Request& request) {
    const auto flight = request.flight;
    auto answer = engine.post_cancellation_if_endless(request);
    while (answer == engine::CancelAnswer::pending) {
        answer = engine.wait_for_answer(request, flight, std::chrono::milliseconds(1));
    }
    return answer == engine::CancelAnswer::yes;
}

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
    check::is_true(cancel_if_endless(*engine, read), "a read of a pipe");
    check::equal(result_of(*engine, read), -ECANCELED);
    check::is_true(cancel_if_endless(*engine, poll), "a poll");
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
    check::is_true(!cancel_if_endless(*engine, write), "a write of a file");
    check::is_true(!cancel_if_endless(*engine, sync), "a sync");
    StoppedReactor::go_on();
    const auto results = results_of(*engine, 3);
    check::equal(results.at(&write), 4);
    check::equal(results.at(&sync), 0);
    check::equal(contents_of(file.get()), "DATA");
}

}  // namespace

int main() {
    return pool_fixtures::run_with_each_kind({
        {"cancel before it is begun", test_cancel_before_it_is_begun},
        {"cancel a poll", test_cancel_a_poll},
        {"cancel what is over", test_cancel_what_is_over},
        {"cancel what might never end", test_cancel_what_might_never_end},
        {"what ends by itself", test_what_ends_by_itself_is_not_cancelled},
    });
}
