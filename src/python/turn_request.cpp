// SPDX-License-Identifier: Apache-2.0
#include "python/turn_request.hpp"

#include <sys/timerfd.h>

#include <utility>

#include "engine/clofork_fd.hpp"
#include "python/exceptions.hpp"
#include "python/loop_binding.hpp"
#include "python/loop_exceptions.hpp"
#include "python/state.hpp"
#include "python/turn_budget.hpp"
#include "python/watcher.hpp"

namespace python {
namespace {

// Whether the loop has to call run_turn() in its next turn. Else the queue waits for a completion,
// which may signal an eventfd that the loop does not watch: see needs_to_look_again().
bool needs_another_turn(const ContextObject* context) noexcept {
    return context->unsignalled != 0 || (!context->binding.queued.empty() &&
                                         (TurnBudget::of_this_thread().is_used_up() ||
                                          (context->room() != 0 && !context->binding.is_refused)));
}

// Whether operations are queued, and no completion is sure to wake the loop.
bool needs_to_look_again(const ContextObject* context) noexcept {
    const bool is_told_of_all =
        context->eventfds_in_flight == 0 &&
        (!context->binding.earlier_loop_in_flight || context->in_flight.empty());
    return !context->binding.queued.empty() && (context->binding.is_refused || !is_told_of_all);
}

// Uses a timerfd, since Trio's own timers may run on a test's clock, which can stand still.
bool start_timer(WatcherObject* watcher) {
    if (!watcher->timer.is_open()) {
        engine::CloforkFd timer;
        {
            const engine::ForkBarrier barrier;
            timer.adopt(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), barrier);
        }
        if (!start_watching(watcher->loop, timer, watcher)) {
            return false;
        }
        watcher->timer = std::move(timer);
    }
    itimerspec delay{};
    delay.it_value.tv_nsec = 1'000'000;
    return timerfd_settime(watcher->timer.get(), 0, &delay, nullptr) == 0;
}

void request_look(ContextObject* context) noexcept {
    auto& binding = context->binding;
    if (std::exchange(binding.look_is_requested, true)) {
        return;
    }
    const KeptException kept;
    const auto watcher = Ref::borrow(binding.watcher.get());
    if (!start_timer(static_cast<WatcherObject*>(watcher.get()))) {
        drop_loops_exception();
        binding.look_is_requested = false;
        tell_loop(context);  // which takes no memory
    }
}

}  // namespace

void request_turn(ContextObject* context) noexcept {
    auto& binding = context->binding;
    if (!binding.loop || std::exchange(binding.turn_is_requested, true)) {
        return;
    }
    const KeptException kept;
    const auto loop = binding.loop.copy();
    const auto watcher = Ref::borrow(binding.watcher.get());
    const auto turn = Ref::steal(PyLong_FromUnsignedLongLong(TurnBudget::of_this_thread().turn()));
    if (!turn || !loop.kind->call_soon(state_of(context), loop.get(), watcher.get(), turn.get())) {
        binding.turn_comes_by_eventfd = true;
        binding.requested_in_turn = TurnBudget::of_this_thread().turn();
        tell_loop(context);  // which takes no memory
    }
    drop_loops_exception();
}

void attend_to_queue(ContextObject* context) noexcept {
    if (needs_another_turn(context)) {
        request_turn(context);
    } else if (needs_to_look_again(context)) {
        request_look(context);
    }
}

}  // namespace python
