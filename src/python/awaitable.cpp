// SPDX-License-Identifier: Apache-2.0
#include "python/awaitable.hpp"

#include <structmember.h>

#include <cerrno>
#include <new>
#include <utility>

#include "engine/program_threads.hpp"
#include "engine/unread_bytes.hpp"
#include "python/cancellation.hpp"
#include "python/completion.hpp"
#include "python/context_lock.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/loop_binding.hpp"
#include "python/loop_turn.hpp"
#include "python/operation.hpp"
#include "python/operation_life.hpp"
#include "python/operation_lock.hpp"
#include "python/operation_result.hpp"
#include "python/payload.hpp"
#include "python/read_memory.hpp"
#include "python/running_loop.hpp"
#include "python/submission.hpp"
#include "python/turn_budget.hpp"
#include "python/turn_request.hpp"

namespace python {
namespace {

using Phase = Awaitable::Phase;

AwaitableObject* cast(PyObject* self) { return static_cast<AwaitableObject*>(self); }
ContextObject* context_of(const Awaitable* self) {
    return static_cast<ContextObject*>(self->context.get());
}
OperationObject* operation_of(const Awaitable* self) {
    return static_cast<OperationObject*>(self->operation.get());
}

// --- ending the awaitable, or only its wait

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

// No task waits any longer. The operation that start() began goes on and may be awaited again.
void end_wait(AwaitableObject* self) noexcept {
    self->wake.reset();
    self->was_cancelled = false;
    self->phase = Phase::started;
}

// --- steps

// Finishes the awaitable. Returns the operation's result, or null with its error.
PyObject* finish_with_result(AwaitableObject* self) {
    auto* result = take_result(operation_of(self));
    const KeptException kept;
    finish(self);
    return result;
}

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

PyObject* finish_with_exception(AwaitableObject* self, Ref exception) {
    finish(self);
    raise_as_coroutine(std::move(exception));
    return nullptr;
}

PyObject* leave_started(AwaitableObject* self, Ref exception) {
    end_wait(self);
    raise_as_coroutine(std::move(exception));
    return nullptr;
}

// A task may be suspended in the awaitable while other code closes it or steps it. Wakes that task,
// to which nothing else would happen. Does nothing if it was woken, as by its cancellation.
void wake_waiting_task(AwaitableObject* self) noexcept {
    if (self->phase == Phase::suspended && self->wake) {
        self->wake_kind->wake_soon(self->wake.get());
    }
}

// Ends the wait with the exception. An operation that start() began goes on: only its awaitable
// leads to its result. Any other awaitable is finished.
PyObject* leave_or_finish(AwaitableObject* self, Ref exception) {
    return self->was_started ? leave_started(self, std::move(exception))
                             : finish_with_exception(self, std::move(exception));
}

// Whether the kernel may still use memory of the program that can change.
bool uses_mutable_memory(const OperationObject* operation) noexcept {
    return operation->state == OperationState::in_flight && has_mutable_payload(*operation);
}

// Whether the operation closes a file. A close is begun even if its task is cancelled, since the
// file would stay open otherwise. No task has to wait for it to end.
bool closes_file(const OperationObject* operation) noexcept {
    return operation->kind == OperationKind::call && operation->details->never_queues;
}

// Whether the operation may change something that can't be undone, so that the program must learn
// whether the operation was done.
bool has_effects(const OperationObject* operation) noexcept {
    const auto opcode = operation->request.opcode;
    return !closes_file(operation) && !engine::is_read(opcode) && !engine::is_sync(opcode) &&
           opcode != engine::Opcode::poll;
}

bool cancel_wait(PyObject* object) noexcept;

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

PyObject* suspend(AwaitableObject* self) {
    return suspend(self, *context_of(self)->binding.loop.kind);
}

// Whether the task is cancelled already, in loops where each call has to ask for that. Then no
// operation is begun.
bool is_cancelled_already(const AwaitableObject* self, const LoopKind& kind) noexcept {
    return kind.is_cancelled(state_of(context_of(self)));
}

PyObject* suspend_cancelled(AwaitableObject* self, const LoopKind& kind) {
    self->was_cancelled = true;
    return suspend(self, kind);
}

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
        settle_eventfd(context);
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

// Submits or queues the operation. Returns false with an exception set, which is to end the
// awaitable.
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

// Requests a turn for an operation that signals no eventfd, since nothing else tells the loop of
// its completion.
void have_it_looked_for(AwaitableObject* self) noexcept {
    const auto* operation = operation_of(self);
    if (operation->state == OperationState::in_flight && operation->request.eventfd < 0) {
        request_turn(context_of(self));
    }
}

PyObject* take_and_finish(AwaitableObject* self);

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

void keep_for_next_read(ContextObject* context, OperationObject* operation);

// Called if the loop has cancelled the task while it was suspended. An exception that the loop
// raises only once, a KeyboardInterrupt, is not ignored.
PyObject* end_cancelled(AwaitableObject* self, Ref exception) {
    if (self->was_started) {
        return leave_started(self, std::move(exception));
    }
    if (!has_result_to_keep(self)) {
        return finish_with_exception(self, std::move(exception));
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

// Whether an operation that start() began has a result, or failed before it was submitted.
bool is_completed(AwaitableObject* self) {
    auto* context = context_of(self);
    if (!self->failure && operation_of(self)->state != OperationState::completed &&
        context->engine() != nullptr && !context->is_inherited()) {
        reap(context);
    }
    return self->failure || operation_of(self)->state == OperationState::completed;
}

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

// Marks that a method of the coroutine runs, so that Python code which it runs can't call another
// method.
class Running {
public:
    explicit Running(AwaitableObject* self) noexcept : self_(self) { self_->is_running = true; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { self_->is_running = false; }

private:
    AwaitableObject* self_;
};

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

// Returns the object to yield (the phase is then `suspended`), or the result, or null with an
// exception set.
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

// --- cancellation

// Keeps the bytes that the operation will read, if it reads a stream, for the next read.
void keep_what_comes(ContextObject* context, OperationObject* operation) noexcept {
    operation->keeps_bytes = true;
    context->note_unread();
}

// The task is gone. Keeps the bytes that its read of a stream has read, or will read, for the next
// read.
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

// Ends the awaitable with the exception: at once, or, if the kernel still uses memory of the
// program that can change, when it no longer does. In the second case, returns the object to yield.
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

// Implements Suspended::cancel_wait (event_loop.hpp).
bool cancel_wait(PyObject* object) noexcept {
    auto* self = cast(object);
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

// --- the coroutine's methods

// For callers that expect a StopIteration with the result at the end.
PyObject* yield_or_stop(AwaitableObject* self, PyObject* value) {
    if (value == nullptr || self->phase == Phase::suspended) {
        return value;
    }
    const auto result = Ref::steal(value);
    if (const auto stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value)); stop) {
        PyErr_SetObject(PyExc_StopIteration, stop.get());
    }
    return nullptr;
}

PyObject* awaitable_next(PyObject* object) {
    return yield_or_stop(cast(object), step(cast(object)));
}

PySendResult awaitable_am_send(PyObject* object, PyObject* /*value*/, PyObject** result) {
    *result = step(cast(object));
    if (*result == nullptr) {
        return PYGEN_ERROR;
    }
    return cast(object)->phase == Phase::suspended ? PYGEN_NEXT : PYGEN_RETURN;
}

PyObject* awaitable_await(PyObject* object) {
    auto* self = cast(object);
    const ContextLock lock(context_of(self));
    if (self->phase == Phase::started) {
        return Py_NewRef(object);
    }
    if (std::exchange(self->was_awaited, true) || self->phase != Phase::created) {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'", self->name);
        return nullptr;
    }
    return Py_NewRef(object);
}

PyDoc_STRVAR(send_doc, "send($self, value, /)\n--\n\nStep it, as a coroutine.");

PyObject* awaitable_send(PyObject* object, PyObject* value) {
    auto* self = cast(object);
    if (self->phase == Phase::created && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return nullptr;
    }
    return yield_or_stop(self, step(self));
}

// Returns the exception that throw() was given in any of its forms, or null with a TypeError.
Ref exception_of(PyObject* const* arguments, Py_ssize_t count) {
    PyObject* first = arguments[0];
    PyObject* value = count > 1 && arguments[1] != Py_None ? arguments[1] : nullptr;
    if (PyExceptionInstance_Check(first)) {
        return Ref::borrow(first);
    }
    if (!PyExceptionClass_Check(first)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, not "
                     "%.200s",
                     Py_TYPE(first)->tp_name);
        return {};
    }
    if (value != nullptr && PyExceptionInstance_Check(value)) {
        return Ref::borrow(value);
    }
    auto made = Ref::steal(value != nullptr ? PyObject_CallOneArg(first, value)
                                            : PyObject_CallNoArgs(first));
    if (made && !PyExceptionInstance_Check(made.get())) {
        PyErr_Format(PyExc_TypeError,
                     "calling %R should have returned an instance of BaseException, not %.200s",
                     first, Py_TYPE(made.get())->tp_name);
        return {};
    }
    return made;
}

PyDoc_STRVAR(throw_doc,
             "throw($self, type, value=None, traceback=None, /)\n--\n\n"
             "End it with an exception, as a coroutine: at once, or when the kernel has let go of\n"
             "memory of the program's.");

PyObject* awaitable_throw(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    auto* self = cast(object);
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw() takes from 1 to 3 arguments (%zd given)", count);
        return nullptr;
    }
    auto exception = exception_of(arguments, count);
    const ContextLock lock(context_of(self));
    if (!exception || !check_not_running(self) || !check_not_finished(self)) {
        return nullptr;
    }
    const Running running(self);
    wake_waiting_task(self);
    return yield_or_stop(self, end_with(self, std::move(exception)));
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Give it up, as a coroutine. What is in flight goes on, its memory kept alive.");

PyObject* awaitable_close(PyObject* object, PyObject* /*unused*/) {
    const ContextLock lock(context_of(cast(object)));
    auto* self = cast(object);
    if (!check_not_running(self)) {
        return nullptr;
    }
    wake_waiting_task(self);
    if (self->was_started && self->phase == Phase::suspended) {
        end_wait(self);
    } else if (self->phase != Phase::finished) {
        if (self->submits && self->operation && !self->deferred) {
            keep_for_next_read(context_of(self), operation_of(self));
        }
        finish(self);
    }
    Py_RETURN_NONE;
}

PyObject* awaitable_start(PyObject* object, PyObject* /*unused*/) {
    if (!start(object)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* awaitable_is_over(PyObject* object, PyObject* /*unused*/) {
    return PyBool_FromLong(is_over(object) ? 1 : 0);
}

PyObject* awaitable_is_finished(PyObject* object, PyObject* /*unused*/) {
    const ContextLock lock(context_of(cast(object)));
    return PyBool_FromLong(cast(object)->phase == Phase::finished ? 1 : 0);
}

PyObject* awaitable_result_if_over(PyObject* object, PyObject* /*unused*/) {
    auto* self = cast(object);
    const ContextLock lock(context_of(self));
    if (!check_not_running(self) || !check_not_finished(self)) {
        return nullptr;
    }
    if (!self->was_started) {
        PyErr_SetString(PyExc_RuntimeError, "only what was started has a result without a loop");
        return nullptr;
    }
    const Running running(self);
    if (self->phase == Phase::suspended) {
        end_wait(self);
    }
    if (is_completed(self)) {
        return next_step(self);
    }
    if (operation_of(self)->listing == Listing::queued) {  // without a loop it is never submitted
        PyErr_SetString(PyExc_ValueError, "the operation was withdrawn before it was submitted");
        return finish_with_exception(self, take_exception());
    }
    Py_RETURN_NONE;
}

PyObject* awaitable_get_name(PyObject* object, void* /*closure*/) {
    return PyUnicode_FromString(cast(object)->name);
}

PyObject* awaitable_repr(PyObject* object) {
    const auto* self = cast(object);
    const ContextLock lock(context_of(self));
    return self->operation
               ? PyUnicode_FromFormat("<%s awaiting %R>", self->name, self->operation.get())
               : PyUnicode_FromFormat("<%s, finished>", self->name);
}

// --- memory

int awaitable_traverse(PyObject* object, visitproc visit, void* arg) {
    const auto* self = cast(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->context.get());
    Py_VISIT(self->operation.get());
    Py_VISIT(self->wake.get());
    Py_VISIT(self->failure.get());
    Py_VISIT(self->deferred.get());
    Py_VISIT(self->shield.get());
    return 0;
}

int awaitable_clear(PyObject* object) {
    auto* self = cast(object);
    const ContextLock lock(context_of(self));
    if (self->phase != Phase::finished) {
        finish(self);
    }
    return 0;
}

void warn_if_never_awaited(AwaitableObject* self) {
    if (self->phase != Phase::created || !self->submits) {
        return;
    }
    const KeptException kept;
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", self->name) !=
        0) {
        PyErr_WriteUnraisable(nullptr);
    }
}

void awaitable_dealloc(PyObject* object) {
    auto* self = cast(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    warn_if_never_awaited(self);
    if (self->phase != Phase::finished) {
        awaitable_clear(object);
    }
    auto* state = state_or_null(object);
    FreeAwaitables::deallocate(state != nullptr ? &state->free_awaitables : nullptr, self);
}

PyMethodDef methods[] = {
    {"send", awaitable_send, METH_O, send_doc},
    {"throw", as_method(awaitable_throw), METH_FASTCALL, throw_doc},
    {"close", awaitable_close, METH_NOARGS, close_doc},
    {"_start", awaitable_start, METH_NOARGS, nullptr},
    {"_is_over", awaitable_is_over, METH_NOARGS, nullptr},
    {"_is_finished", awaitable_is_finished, METH_NOARGS, nullptr},
    {"_result_if_over", awaitable_result_if_over, METH_NOARGS, nullptr},
    {},
};

PyGetSetDef properties[] = {
    {"__name__", awaitable_get_name, nullptr, nullptr, nullptr},
    {"__qualname__", awaitable_get_name, nullptr, nullptr, nullptr},
    {},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, weak_references_offset<Awaitable>(), READONLY, nullptr},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, as_slot(awaitable_dealloc)},
    {Py_tp_traverse, as_slot(awaitable_traverse)},
    {Py_tp_clear, as_slot(awaitable_clear)},
    {Py_tp_repr, as_slot(awaitable_repr)},
    {Py_tp_iter, as_slot(PyObject_SelfIter)},
    {Py_tp_iternext, as_slot(awaitable_next)},
    {Py_am_await, as_slot(awaitable_await)},
    {Py_am_send, as_slot(awaitable_am_send)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>("An operation that is awaited: a coroutine.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._Awaitable",
    .basicsize = sizeof(AwaitableObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

}  // namespace

PyTypeObject* make_awaitable_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

PyObject* make_awaitable(ContextObject* context, OperationObject* operation, bool submits,
                         const char* name) {
    auto& state = state_of(context);
    auto* self = state.free_awaitables.allocate(state.awaitable_type);
    if (self == nullptr) {
        return nullptr;
    }
    PyObject_GC_Track(self);
    self->submits = submits;
    self->name = name;
    self->context = Ref::borrow(context);
    self->operation = Ref::borrow(operation);
    return self;
}

bool start(PyObject* awaitable) {
    auto* self = cast(awaitable);
    const ContextLock lock(context_of(self));
    if (self->phase != Phase::created || !self->submits || self->was_awaited) {
        PyErr_Format(PyExc_RuntimeError, "cannot start already awaited '%s'", self->name);
        return false;
    }
    if (!check_not_running(self)) {
        return false;
    }
    const Running running(self);
    self->was_started = true;
    self->phase = Phase::started;
    if (!submit_for_loop(self)) {
        finish_with_exception(self, take_exception());
        return false;
    }
    have_it_looked_for(self);
    return true;
}

bool is_over(PyObject* awaitable) {
    auto* self = cast(awaitable);
    const ContextLock lock(context_of(self));
    return self->phase == Phase::started ? is_completed(self) : self->phase != Phase::suspended;
}

}  // namespace python
