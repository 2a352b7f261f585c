// SPDX-License-Identifier: Apache-2.0
#include "python/awaitable_wait.hpp"

#include <cerrno>
#include <utility>

#include "engine/unread_bytes.hpp"
#include "python/cancellation.hpp"
#include "python/context_lock.hpp"
#include "python/exceptions.hpp"
#include "python/loop_binding.hpp"
#include "python/operation_life.hpp"
#include "python/operation_result.hpp"
#include "python/payload.hpp"
#include "python/read_memory.hpp"
#include "python/turn_budget.hpp"

namespace python {

namespace {

// Separates the operation from the awaitable. An operation in flight goes on by itself.
void detach(AwaitableObject* self) noexcept {
    auto* operation = operation_of(self);
    if (operation == nullptr || operation->awaiter != self) {
        return;
    }
    OperationLife::end_await(context_of(self), operation, !self->submits);
}

void end_shield(AwaitableObject* self) noexcept {
    if (const auto shield = std::move(self->shield)) {
        self->wake_kind->end_shield(shield.get());
    }
}

}  // namespace

void finish(AwaitableObject* self) noexcept {
    end_shield(self);
    if (self->binding_number != 0 && self->binding_number == context_of(self)->binding.number) {
        --context_of(self)->binding.suspended;
    }
    self->binding_number = 0;
    self->phase = Phase::finished;
    detach(self);
    self->wake.reset();
    self->operation.reset();
    self->failure.reset();
    self->deferred.reset();
}

void give_up(AwaitableObject* self) noexcept {
    auto* context = context_of(self);
    auto* operation = operation_of(self);
    const bool is_in_flight = self->submits && operation != nullptr && operation->awaiter == self &&
                              operation->state == OperationState::in_flight;
    const bool may_be_endless =
        is_in_flight && (reads(operation->kind) || operation->kind == OperationKind::poll);
    if (may_be_endless && context->engine() != nullptr && !context->is_inherited()) {
        if (!self->deferred) {
            keep_for_next_read(context, operation);
        }
        post_cancellation(context, operation);
    }
    finish(self);
}

void end_wait(AwaitableObject* self) noexcept {
    self->wake.reset();
    self->was_cancelled = false;
    self->phase = Phase::started;
}

PyObject* finish_with_result(AwaitableObject* self) {
    auto* result = take_result(operation_of(self));
    const KeptException kept;
    finish(self);
    return result;
}

namespace {

// Raises the exception. A coroutine can't raise StopIteration, which would be its result.
void raise_as_coroutine(Ref exception) {
    if (PyErr_GivenExceptionMatches(exception.get(), PyExc_StopIteration) == 0) {
        raise(std::move(exception));
        return;
    }
    PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
    const auto error = take_exception();
    PyException_SetCause(error.get(), Ref::borrow(exception.get()).release());
    PyException_SetContext(error.get(), exception.release());
    raise(Ref::borrow(error.get()));
}

}  // namespace

PyObject* finish_with_exception(AwaitableObject* self, Ref exception) {
    finish(self);
    raise_as_coroutine(std::move(exception));
    return nullptr;
}

namespace {

PyObject* leave_started(AwaitableObject* self, Ref exception) {
    end_wait(self);
    raise_as_coroutine(std::move(exception));
    return nullptr;
}

}  // namespace

void wake_waiting_task(AwaitableObject* self) noexcept {
    if (self->phase == Phase::suspended && self->wake) {
        self->wake_kind->wake_waiter(self->wake.get());
    }
}

PyObject* leave_or_finish(AwaitableObject* self, Ref exception) {
    return self->was_started ? leave_started(self, std::move(exception))
                             : finish_with_exception(self, std::move(exception));
}

namespace {

// Whether the kernel may still use memory of the program that can change.
bool uses_mutable_memory(const OperationObject* operation) noexcept {
    return operation->state == OperationState::in_flight && has_mutable_payload(*operation);
}

}  // namespace

bool closes_file(const OperationObject* operation) noexcept {
    return operation->kind == OperationKind::call && operation->details->never_queues;
}

bool has_effects(const OperationObject* operation) noexcept {
    const auto opcode = operation->request.opcode;
    return !closes_file(operation) && !engine::is_read(opcode) && !engine::is_sync(opcode) &&
           opcode != engine::Opcode::poll;
}

namespace {

// Keeps the bytes that the operation will read, if it reads a stream, for the next read.
void keep_what_comes(ContextObject* context, OperationObject* operation) noexcept {
    operation->keeps_bytes = true;
    context->note_unread();
}

// Implements Suspended::cancel_wait (event_loop.hpp).
bool cancel_wait(PyObject* object) noexcept {
    auto* self = static_cast<AwaitableObject*>(object);
    const ContextLock lock(context_of(self));
    auto* operation = operation_of(self);
    auto* context = context_of(self);
    if (operation == nullptr || self->was_cancelled || self->was_started) {
        return true;
    }
    if (operation->state == OperationState::completed || self->deferred) {
        return false;  // the task is about to be woken
    }
    const bool must_wait = has_mutable_payload(*operation) || has_effects(operation);
    if (self->submits && operation->state == OperationState::in_flight && reads(operation->kind) &&
        !must_wait) {
        keep_what_comes(context, operation);
    }
    if (operation->state != OperationState::in_flight || context->engine() == nullptr ||
        context->is_inherited()) {
        OperationLife::leave_queue(context->binding, operation);
        return operation->state != OperationState::submitting || !must_wait;
    }
    const KeptException kept;
    post_cancellation(context, operation);
    return !must_wait;
}

// Returns the object to yield to the loop, or null with an exception set.
PyObject* make_suspension(AwaitableObject* self, const LoopKind& kind) {
    auto* context = context_of(self);
    auto& state = state_of(context);
    self->wake = kind.make_wake(state, context->binding.loop.get(),
                                {.object = self, .cancel_wait = cancel_wait});
    self->wake_kind = &kind;
    return self->wake ? kind.suspension(state, self->wake.get()) : nullptr;
}

// Suspends the awaitable: returns the object to yield to the loop. On an exception, ends the wait.
// But while the kernel uses memory of the program that can change, a KeyboardInterrupt is deferred
// until the kernel no longer does.
PyObject* suspend(AwaitableObject* self, const LoopKind& kind) {
    auto* result = make_suspension(self, kind);
    if (result == nullptr && !self->deferred && uses_mutable_memory(operation_of(self)) &&
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0) {
        self->deferred = take_exception();
        result = make_suspension(self, kind);
    }
    if (result == nullptr) {
        return leave_or_finish(self, take_exception());
    }
    self->phase = Phase::suspended;
    TurnBudget::of_this_thread().end_slice();
    return result;
}

}  // namespace

PyObject* suspend(AwaitableObject* self) {
    return suspend(self, *context_of(self)->binding.loop.kind);
}

bool is_cancelled_already(const AwaitableObject* self, const LoopKind& kind) noexcept {
    return kind.is_cancelled(state_of(context_of(self)));
}

PyObject* suspend_cancelled(AwaitableObject* self, const LoopKind& kind) {
    self->was_cancelled = true;
    return suspend(self, kind);
}

// --- cancellation

void keep_for_next_read(ContextObject* context, OperationObject* operation) {
    const bool has_bytes = operation->state == OperationState::completed && operation->result > 0;
    if (!reads(operation->kind) || !(has_bytes || operation->state == OperationState::in_flight)) {
        return;
    }
    if (operation->state == OperationState::in_flight) {
        keep_what_comes(context, operation);
        return;
    }
    auto& request = operation->request;
    const auto& key = request.source;
    if (!key) {
        return;
    }
    const KeptException kept;
    if (operation->kind == OperationKind::read) {
        if (const auto bytes = Ref::steal(read_result(*operation))) {
            const auto* data = reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes.get()));
            engine::keep_unread(*key, {data, static_cast<std::size_t>(operation->result)});
        }
    } else if (prepare_payload(*operation)) {
        engine::keep_unread(*key, request, operation->result);
        release_memory(operation->memory);
    }
    PyErr_Clear();
}

PyObject* end_with(AwaitableObject* self, Ref exception) {
    if (self->was_started) {
        return leave_started(self, std::move(exception));
    }
    auto* operation = operation_of(self);
    auto* context = context_of(self);
    // if the task was cancelled before, the operation's completion keeps the bytes
    if (self->submits && !self->deferred) {
        keep_for_next_read(context, operation);
    }
    const bool in_flight = operation->state == OperationState::in_flight &&
                           context->engine() != nullptr && !context->is_inherited();
    if (self->phase == Phase::created || !in_flight) {
        return finish_with_exception(self, std::move(exception));
    }
    post_cancellation(context, operation);
    if (!uses_mutable_memory(operation)) {
        return finish_with_exception(self, std::move(exception));
    }
    self->deferred = std::move(exception);
    auto* result = suspend(self);
    if (result != nullptr && !self->shield) {
        self->shield = self->wake_kind->begin_shield(state_of(context));
    }
    return result;
}

}  // namespace python
