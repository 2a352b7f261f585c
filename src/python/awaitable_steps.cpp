// SPDX-License-Identifier: Apache-2.0
#include "python/awaitable_steps.hpp"

#include <cerrno>
#include <utility>

#include "engine/program_threads.hpp"
#include "python/completion.hpp"
#include "python/context_lock.hpp"
#include "python/exceptions.hpp"
#include "python/loop_binding.hpp"
#include "python/loop_turn.hpp"
#include "python/operation_life.hpp"
#include "python/operation_lock.hpp"
#include "python/payload.hpp"
#include "python/read_memory.hpp"
#include "python/running_loop.hpp"
#include "python/submission.hpp"
#include "python/turn_budget.hpp"
#include "python/turn_request.hpp"

namespace python {

bool check_not_running(const AwaitableObject* self) {
    if (self->is_running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return false;
    }
    return true;
}

bool check_not_finished(const AwaitableObject* self) {
    if (self->phase == Phase::finished) {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'", self->name);
        return false;
    }
    return true;
}

namespace {

// Whether the task's step itself reads from the file, if that is a stream.
bool takes_in_step(const AwaitableObject* self) noexcept {
    const auto* operation = operation_of(self);
    return self->submits && !self->was_started && reads(operation->kind) &&
           !operation->request.memory_may_wait && !self->cannot_take;
}

void enqueue(AwaitableObject* self) noexcept {
    auto* context = context_of(self);
    auto* operation = operation_of(self);
    operation->request.stream_read =
        takes_in_step(self) ? engine::StreamRead::later : engine::StreamRead::by_anyone;
    if (!comes_to_queue(context)) {
        submit_full_batch(context);
    }
    OperationLife::enqueue(context, operation);
    if (!comes_to_queue(context)) {
        attend_to_queue(context);
    }
}

engine::Pace pace_of(const ContextObject* context, OperationObject* operation) noexcept {
    if (context->engine() == nullptr) {
        return engine::Pace::asynchronous;  // reaping has run code that closed the context
    }
    operation->request.fd = operation->file.number();
    return context->engine()->guess(operation->request);
}

// Whether the operation is better submitted together with others of this turn of the loop: the
// kernel dispatches the requests of one system call together.
bool is_better_batched(const OperationObject* operation, engine::Pace pace) noexcept {
    return (reads(operation->kind) || writes(operation->kind)) &&
           pace == engine::Pace::asynchronous;
}

// An operation that is over when the submission returns has signalled no eventfd. So its submitter
// reaps until that operation has completed, after all that completed before.
void reap_until_over(ContextObject* context, const OperationObject* operation) noexcept {
    while (reap_some(context) && operation->state == OperationState::in_flight) {
    }
}

// The number of tasks that wait for their turn, or to be woken.
std::size_t waiting_tasks(const ContextObject* context) noexcept {
    return context->binding.queued.size() + context->binding.ready.size();
}

// Whether the running task may submit now, although other tasks wait for their turn.
bool has_turn(const ContextObject* context, TurnBudget& budget) noexcept {
    const auto waiting = waiting_tasks(context);
    return waiting == 0 || budget.has_slice(TurnBudget::Clock::now(), waiting);
}

// Carries out a read that is known to end at once, without a submission. Returns false if the
// operation is to be submitted.
bool read_at_once(AwaitableObject* self, TurnBudget& budget) {
    auto* context = context_of(self);
    auto* operation = operation_of(self);
    if (context->room() == 0 || !may_complete_at_once(context, operation)) {
        return false;
    }
    const auto begin = TurnBudget::Clock::now();
    auto now = begin;
    if (!budget.may_spend(context) || !budget.has_slice(begin, waiting_tasks(context))) {
        enqueue(self);
        return true;
    }
    if (!complete_at_once(context, operation, now)) {
        return false;
    }
    budget.spend(now - begin);
    release_buffers(operation);
    return true;
}

// Closes the file in the background after the operation was refused, and completes the operation.
// The file is marked as closed already, so that nothing else would close its number.
void close_in_background(AwaitableObject* self) noexcept {
    auto* operation = operation_of(self);
    OperationLife::leave_queue(context_of(self)->binding, operation);
    self->failure.reset();
    OperationLife::claim(operation);
    engine::close_soon(operation->file.number());
    OperationLife::complete_claimed(operation, 0);
}

// Submits the operation if its turn has come; else queues it.
void submit_or_enqueue(AwaitableObject* self) {
    auto* context = context_of(self);
    PyObject* operation = operation_of(self);
    auto& budget = TurnBudget::of_this_thread();
    if (context->room() == 0 || context->take_unread()) {
        reap(context);
    }
    if (read_at_once(self, budget)) {
        return;
    }
    const auto pace = pace_of(context, operation_of(self));
    operation_of(self)->request.stream_read =
        takes_in_step(self) ? engine::StreamRead::by_submitter : engine::StreamRead::by_anyone;
    if (closes_file(operation_of(self))) {
        submit_awaited(context, {&operation, 1}, pace);
        if (self->failure || operation_of(self)->listing == Listing::queued) {
            close_in_background(self);
        } else {
            reap_until_over(context, operation_of(self));
        }
        return;
    }
    // An operation that start() submits, and that goes to a thread or the disk, costs the turn no
    // time.
    const bool is_handed_on = self->was_started && pace == engine::Pace::asynchronous;
    const bool may_go = is_handed_on || (!is_better_batched(operation_of(self), pace) &&
                                         budget.may_spend(context) && has_turn(context, budget));
    if (context->binding.queued.empty() && context->room() != 0 && may_go) {
        const TurnBudget::Measure measure(budget, operation_of(self)->nbytes);
        submit_awaited(context, {&operation, 1}, pace);
        reap_until_over(context, operation_of(self));
        if (operation_of(self)->listing == Listing::queued) {
            if (takes_in_step(self)) {
                operation_of(self)->request.stream_read = engine::StreamRead::later;
            }
            attend_to_queue(context);
        }
    } else {
        enqueue(self);
    }
}

bool may_be_awaited(const OperationObject* operation) {
    if (operation->state == OperationState::created ||
        operation->state == OperationState::submitting) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the operation was not submitted: submit it before awaiting it");
        return false;
    }
    if (operation->eventfd) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the operation signals an EventFD of the program's: await that");
        return false;
    }
    if (operation->awaiter != nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "the operation is awaited already");
        return false;
    }
    return true;
}

// Does what the function above does. Also returns false with an exception set if the operation was
// submitted to another context meanwhile.
bool may_be_awaited(const AwaitableObject* self) {
    if (self->operation && operation_of(self)->context.get() != self->context.get()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the operation was submitted to another context before it was awaited");
        return false;
    }
    return may_be_awaited(operation_of(self));
}

// The awaiting task gets the completed operation, so getevents() no longer returns it.
void collect(ContextObject* context, OperationObject* operation) noexcept {
    if (is_collectable(operation->listing)) {
        forget(context, operation);
        empty_eventfd_if_collected(context);
    }
}

// For `await operation`: the awaitable gets the result, and getevents() no longer returns the
// operation. Returns false with RuntimeError.
bool take_over(AwaitableObject* self) {
    auto* operation = operation_of(self);
    auto* context = context_of(self);
    if (!may_be_awaited(self)) {
        return false;
    }
    reap(context);
    if (operation->state == OperationState::in_flight && operation->request.eventfd >= 0 &&
        !borrow_eventfd(context)) {
        return false;
    }
    // reap() and borrow_eventfd() may have let other threads in.
    if (!may_be_awaited(self)) {
        return false;
    }
    if (operation->state == OperationState::completed) {
        collect(context, operation);
        return true;
    }
    OperationLife::await_submitted(context, operation, self);
    return true;
}

}  // namespace

bool submit_for_loop(AwaitableObject* self) {
    auto* context = context_of(self);
    if (!check_usable(context) || !bind_to_running_loop(context)) {
        return false;
    }
    ++context->binding.suspended;
    self->binding_number = context->binding.number;
    if (!self->submits) {
        return take_over(self);
    }
    OperationLife::await_new(operation_of(self), self);
    submit_or_enqueue(self);
    return true;
}

void have_it_looked_for(AwaitableObject* self) noexcept {
    const auto* operation = operation_of(self);
    if (operation->state == OperationState::in_flight && operation->request.eventfd < 0) {
        request_turn(context_of(self));
    }
}

namespace {

// Whether a task that is cancelled gets the result nevertheless: the operation is done, and has
// effects or has read bytes of a stream.
bool has_result_to_keep(const AwaitableObject* self) noexcept {
    if (self->was_started || self->was_cancelled) {
        return false;
    }
    const auto* operation = operation_of(self);
    const bool has_bytes =
        reads(operation->kind) && operation->result > 0 && operation->request.source.has_value();
    return operation->state == OperationState::completed && operation->result != -ECANCELED &&
           (has_effects(operation) || has_bytes);
}

// Called if the loop has cancelled the task while it was suspended. An exception that the loop
// raises only once, a KeyboardInterrupt, is not ignored.
PyObject* end_cancelled(AwaitableObject* self, Ref exception) {
    if (!has_result_to_keep(self)) {
        return leave_or_finish(self, std::move(exception));
    }
    if (PyErr_GivenExceptionMatches(exception.get(), PyExc_KeyboardInterrupt) == 0) {
        return finish_with_result(self);
    }
    keep_for_next_read(context_of(self), operation_of(self));
    return finish_with_exception(self, std::move(exception));
}

// Queues the operation and suspends the task.
PyObject* enqueue_and_suspend(AwaitableObject* self) {
    enqueue(self);
    if (!check_usable(context_of(self))) {  // a submission has run code that closed the context
        return finish_with_exception(self, take_exception());
    }
    return suspend(self);
}

// The stream has bytes to read. The task's own step reads them, so that none are lost if the task
// is cancelled before. If another reader was faster, the task waits again.
PyObject* take_and_finish(AwaitableObject* self) {
    auto* context = context_of(self);
    auto* operation = operation_of(self);
    if (!check_usable(context)) {
        return finish_with_exception(self, take_exception());
    }
    OperationLife::leave_queue(context->binding, operation);
    OperationLife::claim(operation);  // code that exports buffers can't submit it meanwhile
    const auto taken = take_from_stream(*operation);
    if (!taken) {
        OperationLife::unclaim(operation, OperationState::completed);
        return finish_with_exception(self, take_exception());
    }
    if (*taken != -EAGAIN && *taken != -EOPNOTSUPP) {
        OperationLife::complete_claimed(operation, *taken);
        release_buffers(operation);
        return finish_with_result(self);
    }
    OperationLife::unclaim(operation, OperationState::created);
    operation->request.is_ready = false;
    release_buffers(operation);
    self->cannot_take = *taken == -EOPNOTSUPP;  // then an I/O thread reads it
    if (!check_usable(context)) {               // asking for the number has closed the context
        return finish_with_exception(self, take_exception());
    }
    return enqueue_and_suspend(self);
}

PyObject* first_step(AwaitableObject* self) {
    auto* context = context_of(self);
    auto* operation = operation_of(self);
    if (const auto& kind = running_kind(state_of(context));
        !closes_file(operation) && is_cancelled_already(self, kind)) {
        return suspend_cancelled(self, kind);
    }
    if (!self->submits && operation->state == OperationState::completed) {
        if (!may_be_awaited(self)) {
            return finish_with_exception(self, take_exception());
        }
        collect(context, operation);
        return finish_with_result(self);
    }
    if (!submit_for_loop(self)) {
        auto failure = take_exception();
        if (closes_file(operation) && operation->state == OperationState::created) {
            close_in_background(self);
        }
        return finish_with_exception(self, std::move(failure));
    }
    if (self->failure) {
        return finish_with_exception(self, std::move(self->failure));
    }
    if (operation->state == OperationState::completed) {
        return operation->request.is_ready ? take_and_finish(self) : finish_with_result(self);
    }
    if (!check_usable(context)) {  // the submission has run code that closed the context
        return finish_with_exception(self, take_exception());
    }
    have_it_looked_for(self);
    return suspend(self);
}

}  // namespace

PyObject* next_step(AwaitableObject* self) {
    const bool is_left = self->wake && has_result_to_keep(self) &&
                         self->wake_kind->leave_cancellation(self->wake.get());
    auto cancellation =
        self->wake && !is_left ? self->wake_kind->take_cancellation(self->wake.get()) : Ref();
    if (cancellation) {
        return end_cancelled(self, std::move(cancellation));
    }
    if (self->deferred) {
        return leave_or_finish(self, std::move(self->deferred));
    }
    if (self->failure) {
        return finish_with_exception(self, std::move(self->failure));
    }
    if (operation_of(self)->state == OperationState::completed) {
        return operation_of(self)->request.is_ready ? take_and_finish(self)
                                                    : finish_with_result(self);
    }
    if (operation_of(self)->state == OperationState::created &&
        operation_of(self)->listing == Listing::none) {
        // its wait was cancelled while it was queued, yet the task goes on
        if (!check_usable(context_of(self))) {
            return finish_with_exception(self, take_exception());
        }
        return enqueue_and_suspend(self);
    }
    wake_waiting_task(self);
    PyErr_SetString(PyExc_RuntimeError, "stepped before what it waits for has happened");
    return finish_with_exception(self, take_exception());
}

bool is_completed(AwaitableObject* self) {
    auto* context = context_of(self);
    if (!self->failure && operation_of(self)->state != OperationState::completed &&
        context->engine() != nullptr && !context->is_inherited()) {
        reap(context);
    }
    return self->failure || operation_of(self)->state == OperationState::completed;
}

namespace {

// A task awaits an operation that start() began. If it can't wait, the operation goes on, and its
// result can still be asked for.
PyObject* join(AwaitableObject* self) {
    auto* context = context_of(self);
    if (const auto& kind = running_kind(state_of(context)); is_cancelled_already(self, kind)) {
        return suspend_cancelled(self, kind);
    }
    if (is_completed(self)) {
        return next_step(self);
    }
    if (!check_usable(context) || !bind_to_running_loop(context)) {
        return nullptr;
    }
    if (self->binding_number != context->binding.number) {
        PyErr_SetString(PyExc_RuntimeError, "the operation was begun in another event loop");
        return nullptr;
    }
    have_it_looked_for(self);
    return suspend(self);
}

// Called with the context locked; if the program submitted the operation itself, with that locked,
// too.
PyObject* locked_step(AwaitableObject* self) {
    if (!check_not_running(self) || !check_not_finished(self)) {
        return nullptr;
    }
    const Running running(self);
    switch (self->phase) {
        case Phase::created:
            return first_step(self);
        case Phase::started:
            return join(self);
        default:
            return next_step(self);
    }
}

}  // namespace

PyObject* step(AwaitableObject* self) {
    Ref operation;
    {
        const ContextLock lock(context_of(self));
        if (self->submits || !self->operation) {
            return locked_step(self);
        }
        operation = Ref::borrow(self->operation.get());
    }
    const OperationLock lock(static_cast<OperationObject*>(operation.get()));
    return locked_step(self);
}

}  // namespace python
