// SPDX-License-Identifier: Apache-2.0
#include "python/waking.hpp"

#include <utility>

#include "python/awaitable_state.hpp"
#include "python/exceptions.hpp"
#include "python/operation_life.hpp"
#include "python/state.hpp"
#include "python/turn_request.hpp"

namespace python {
namespace {

bool is_given_up(const OperationObject* operation) noexcept {
    const AwaitableObject* awaiter = operation->awaiter;
    return awaiter != nullptr && awaiter->wake && !awaiter->was_started &&
           awaiter->wake_kind->has_cancelled(awaiter->wake.get());
}

// Returns the operation or, if its task was cancelled, the next one in the queue whose was not.
OperationObject* skip_given_up(LoopBinding& binding, OperationObject* operation) noexcept {
    while (operation != nullptr && is_given_up(operation)) {
        auto* next = OperationList::next(operation);
        OperationLife::leave_queue(binding, operation);
        operation = next;
    }
    return operation;
}

}  // namespace

OperationObject* first_queued(LoopBinding& binding) noexcept {
    return skip_given_up(binding, binding.queued.front());
}

OperationObject* next_queued(LoopBinding& binding, const OperationObject* operation) noexcept {
    return skip_given_up(binding, OperationList::next(operation));
}

Ref take_ready(LoopBinding& binding) noexcept {
    auto* operation = binding.ready.front();
    OperationLife::leave_queue(binding, operation);
    const AwaitableObject* awaiter = operation->awaiter;
    const bool is_waited_for = awaiter != nullptr && awaiter->binding_number == binding.number;
    return Ref::borrow(is_waited_for ? awaiter->wake.get() : nullptr);
}

void wake_all_soon(ContextObject* context) noexcept {
    const auto* kind = context->binding.loop.kind;
    while (!context->binding.ready.empty()) {
        if (const auto wake = take_ready(context->binding)) {
            kind->wake_soon(wake.get());
        }
    }
}

void wake_ready(ContextObject* context) noexcept {
    if (!context->binding.loop || context->binding.ready.empty()) {
        return;
    }
    const auto& loop = context->binding.loop;
    if (loop.kind->may_touch(state_of(context), loop.get())) {
        wake_all_soon(context);
    } else {
        request_turn(context);
    }
}

void fail_awaited(ContextObject* context, OperationObject* operation) noexcept {
    auto exception = take_exception();
    if (operation->awaiter != nullptr) {
        operation->awaiter->failure = std::move(exception);
        OperationLife::make_ready(context, operation);
    }
}

void fail_queued(ContextObject* context) noexcept {
    const KeptException kept;
    while (!context->binding.queued.empty()) {
        auto failure = Ref::steal(PyObject_CallFunction(
            PyExc_ValueError, "s", "the AIOContext was closed before the operation's turn came"));
        PyErr_Clear();
        // The queue is looked at after the exception was made: making it may let other threads in,
        // which may change the queue.
        auto* operation = context->binding.queued.front();
        if (operation == nullptr) {
            break;  // not covered: needs another thread, or a collection, at that very moment
        }
        OperationLife::make_ready(context, operation);
        operation->awaiter->failure = std::move(failure);
    }
    wake_ready(context);
}

}  // namespace python
