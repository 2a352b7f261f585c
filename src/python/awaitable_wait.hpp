// SPDX-License-Identifier: Apache-2.0
// The wait of a task for an awaitable: how it begins, how it ends, and what a cancellation does.
#pragma once

#include "python/awaitable_state.hpp"
#include "python/context.hpp"
#include "python/operation.hpp"
#include "python/refs.hpp"

namespace python {

using Phase = Awaitable::Phase;

inline ContextObject* context_of(const Awaitable* self) {
    return static_cast<ContextObject*>(self->context.get());
}
inline OperationObject* operation_of(const Awaitable* self) {
    return static_cast<OperationObject*>(self->operation.get());
}

// --- the end

// Finishes the awaitable.
void finish(AwaitableObject* self) noexcept;

// The same for an awaitable that nobody awaits any more. A read or a poll in flight, which may wait
// for ever, is cancelled, so that its place becomes free.
void give_up(AwaitableObject* self) noexcept;

// No task waits any longer. The operation that start() began goes on and may be awaited again.
void end_wait(AwaitableObject* self) noexcept;

// Finishes the awaitable. Returns the operation's result, or null with its error.
PyObject* finish_with_result(AwaitableObject* self);

// Finishes the awaitable, and raises the exception.
PyObject* finish_with_exception(AwaitableObject* self, Ref exception);

// Ends the wait with the exception. An operation that start() began goes on: only its awaitable
// leads to its result. Any other awaitable is finished.
PyObject* leave_or_finish(AwaitableObject* self, Ref exception);

// A task may be suspended in the awaitable while other code closes it or steps it. Wakes that task,
// to which nothing else would happen. Does nothing if it was woken, as by its cancellation.
void wake_waiting_task(AwaitableObject* self) noexcept;

// --- the beginning

// Suspends the awaitable: returns the object to yield to the loop. On an exception, ends the wait.
// But while the kernel uses memory of the program that can change, a KeyboardInterrupt is deferred
// until the kernel no longer does.
PyObject* suspend(AwaitableObject* self);

// Suspends a task that was cancelled before, so that the loop ends it. No operation is begun.
PyObject* suspend_cancelled(AwaitableObject* self, const LoopKind& kind);

// Whether the task is cancelled already, in loops where each call has to ask for that.
bool is_cancelled_already(const AwaitableObject* self, const LoopKind& kind) noexcept;

// --- cancellation

// Whether the operation closes a file. A close is begun even if its task is cancelled, since the
// file would stay open otherwise. No task has to wait for it to end.
bool closes_file(const OperationObject* operation) noexcept;

// Whether the operation may change something that can't be undone, so that the program must learn
// whether the operation was done.
bool has_effects(const OperationObject* operation) noexcept;

// The task is gone. Keeps the bytes that its read of a stream has read, or will read, for the next
// read.
void keep_for_next_read(ContextObject* context, OperationObject* operation);

// Ends the awaitable with the exception: at once, or, if the kernel still uses memory of the
// program that can change, when it no longer does. In the second case, returns the object to yield.
PyObject* end_with(AwaitableObject* self, Ref exception);

}  // namespace python
