// SPDX-License-Identifier: Apache-2.0
#include "python/loop_turn.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>

#include "python/completion.hpp"
#include "python/exceptions.hpp"
#include "python/loop_binding.hpp"
#include "python/operation_life.hpp"
#include "python/state.hpp"
#include "python/submission.hpp"
#include "python/turn_budget.hpp"
#include "python/turn_request.hpp"
#include "python/wake_future.hpp"
#include "python/waking.hpp"

namespace python {
namespace {

constexpr std::size_t enough_bytes = std::size_t{256} * 1024;

// Selects queued operations for one submission, up to about 256 KiB. The limit is in bytes since
// large transfers take long.
std::size_t choose_from_queue(ContextObject* context, std::span<PyObject*> operations) noexcept {
    auto& binding = context->binding;
    const auto room = std::min(context->room(), operations.size());
    std::size_t count = 0;
    std::size_t bytes = 0;
    for (auto* operation = first_queued(binding);
         operation != nullptr && count < room && bytes < enough_bytes;
         operation = next_queued(binding, operation)) {
        operations[count++] = operation;
        bytes += operation->nbytes;
    }
    return count;
}

// Carries out the first operation in the queue if it is a read that is known to end at once.
// Returns whether it did.
bool complete_first(ContextObject* context, TurnBudget& budget) noexcept {
    const auto held = Ref::borrow(first_queued(context->binding));
    auto* operation = static_cast<OperationObject*>(held.get());
    if (operation == nullptr || context->room() == 0 || !may_complete_at_once(context, operation) ||
        !budget.may_spend(context)) {
        return false;
    }
    const auto begin = TurnBudget::Clock::now();
    auto now = begin;
    if (!complete_at_once(context, operation, now)) {
        return false;
    }
    budget.spend(now - begin);
    OperationLife::make_ready(context, operation);
    release_buffers(operation);
    return true;
}

void submit_queued(ContextObject* context) noexcept {
    auto& budget = TurnBudget::of_this_thread();
    context->binding.is_refused = false;
    std::array<PyObject*, most_awaited> operations;
    while (context->engine() != nullptr && !context->is_closing()) {
        if (complete_first(context, budget)) {
            continue;
        }
        const auto count = choose_from_queue(context, operations);
        if (count == 0 || !budget.may_spend(context)) {
            return;
        }
        const TurnBudget::Measure measure(budget, enough_bytes);
        const bool some_moved = submit_awaited(context, std::span(operations).first(count));
        reap(context);
        if (!some_moved) {
            context->binding.is_refused = context->room() != 0;
            return;
        }
    }
}

// Limits how long run_turn() wakes tasks before it lets the rest of the loop run. Reads the clock
// only at every `sample`-th question.
class WakeBudget {
public:
    using Clock = TurnBudget::Clock;

    Clock::time_point start() const noexcept { return start_; }

    bool is_over() noexcept {
        if (++questions_ % sample == 0 && !is_over_) {
            is_over_ = Clock::now() - start_ >= TurnBudget::limit;
        }
        return is_over_;
    }

private:
    static constexpr unsigned sample = 4;

    Clock::time_point start_ = Clock::now();
    unsigned questions_ = 0;
    bool is_over_ = false;
};

// Whether the queue holds enough operations to submit. The batch size is to keep both the disk and
// the tasks busy: larger batches are cheaper, but an otherwise idle disk waits while a batch is
// gathered. So a batch is as large as the number of operations that the disk works on. What hangs
// does not count: the batch would wait for tasks that do not come.
bool batch_is_full(const ContextObject* context) noexcept {
    constexpr std::size_t fewest = 4;
    constexpr std::size_t most = 32;
    const auto count = std::min(context->binding.queued.size(), context->room());
    return count >= std::clamp(context->recent_flights.count(), fewest, most);
}

void submit_for_turn(ContextObject* context) noexcept {
    context->binding.is_running = true;
    submit_queued(context);
    context->binding.is_running = false;
}

// Leaves the current contextvars context for the life of the object. The loop calls a reader in the
// same context each time. If we stayed in it, a loop that is run inside one of our callbacks could
// not call us again.
class OutsideContextVars {
public:
    OutsideContextVars() noexcept : context_(Ref::borrow(current_contextvars())) {
        if (context_ && PyContext_Exit(context_.get()) != 0) {
            PyErr_Clear();
            context_.reset();
        }
    }
    OutsideContextVars(const OutsideContextVars&) = delete;
    OutsideContextVars& operator=(const OutsideContextVars&) = delete;
    ~OutsideContextVars() {
        const KeptException kept;
        if (context_ && PyContext_Enter(context_.get()) != 0) {
            PyErr_Clear();  // not covered: another thread would have to be in that context
        }
    }

private:
    Ref context_;
};

// Wakes the tasks whose operations have completed by now, and submits the operations that they
// queue. Returns false with an exception set.
bool wake_all_now(ContextObject* context, ContextLock& lock, WakeBudget& wake_budget) {
    auto& binding = context->binding;
    // a woken task may bind the context to another loop
    const auto& kind = *binding.loop.kind;
    const auto number = binding.number;
    auto* outer = binding.waking;
    const OutsideContextVars outside;
    bool goes_on = true;
    for (auto left = binding.ready.size();
         goes_on && left != 0 && !binding.ready.empty() && binding.number == number; --left) {
        const auto wake = take_ready(binding);
        if (!wake) {
            continue;
        }
        // This reference keeps the contextvars context alive. Else waking might release it, and
        // another one get its address, with which `binding.waking` is compared.
        const auto contextvars = kind.contextvars_of_wake(wake.get());
        binding.waking = contextvars.get();
        {
            const ContextLock::Pause pause(lock);
            goes_on = kind.wake_now(wake.get());
        }
        binding.waking = outer;
        if (goes_on && batch_is_full(context)) {
            submit_for_turn(context);
        }
        if (wake_budget.is_over()) {
            break;
        }
    }
    return goes_on;
}

// False with an exception set.
bool wake_and_submit(ContextObject* context, ContextLock& lock) {
    auto& binding = context->binding;
    if (!binding.loop || TurnBudget::of_this_thread().is_contended() ||
        !binding.loop.kind->may_wake_now(state_of(context), binding.loop.get())) {
        wake_all_soon(context);
        return true;
    }
    WakeBudget wake_budget;
    context->recent_flights.advance(wake_budget.start());
    do {
        if (!wake_all_now(context, lock, wake_budget)) {
            return false;
        }
        submit_for_turn(context);
    } while (!binding.ready.empty() && !wake_budget.is_over());
    return true;
}

}  // namespace

void submit_full_batch(ContextObject* context) noexcept {
    const auto& binding = context->binding;
    if (!binding.queued.empty() && binding.loop && binding.loop.kind->steps_all_tasks() &&
        !context->is_closing() && batch_is_full(context)) {
        submit_for_turn(context);
    }
}

bool run_turn(ContextObject* context, ContextLock& lock) {
    auto& binding = context->binding;
    if (context->engine() != nullptr) {
        binding.is_running = true;
        empty_eventfd(eventfd_of_binding(context));
        const bool is_emptied = binding.borrowed != 0 &&
                                (!context->eventfd_is_watched() || context->owned_results == 0);
        if (is_emptied) {
            empty_eventfd(context->eventfd().get());
        }
        reap(context);
        if (is_emptied && context->eventfd_is_watched() && context->owned_results != 0) {
            signal_eventfd(context->eventfd().get());  // the signal was for the program, too
        }
        submit_queued(context);
        binding.is_running = false;
    }
    if (context->is_closing()) {
        fail_queued(context);  // operations that were not in the queue when the context was closed
    }
    const bool succeeded = binding.ready.empty() || wake_and_submit(context, lock);
    if (context->engine() == nullptr) {
        wake_all_soon(context);
        unbind(context);
        return succeeded;
    }
    if (binding.borrowed == 0 && stop_borrowing_eventfd(context) && context->eventfd_is_watched() &&
        context->owned_results != 0) {
        signal_eventfd(context->eventfd().get());
    }
    if (!binding.ready.empty()) {
        request_turn(context);
    }
    attend_to_queue(context);
    return succeeded;
}

}  // namespace python
