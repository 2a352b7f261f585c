// SPDX-License-Identifier: Apache-2.0
// What linux_aio needs of an event loop. Each kind of loop implements LoopKind in a file of its
// own, and running_loop.cpp finds out which kind runs. Nothing else in src/python depends on the
// kind.
//
// A LoopKind has no state: everything that it needs to know is in the loop's object, which the
// caller keeps. All methods are called in the loop's thread, unless their comment says otherwise.
#pragma once

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// An object that is suspended in a task, as LoopKind sees it.
struct Suspended {
    PyObject* object = nullptr;  // not owned

    // Called when the task is cancelled, by loops that do not throw exceptions into suspended
    // objects. Returns true if the object may end at once: the operation that it waited for then
    // goes on without it, or is not begun. Returns false if the task is to go on when that
    // operation has completed.
    bool (*cancel_wait)(PyObject* object) noexcept = nullptr;
};

class LoopKind {
public:
    LoopKind() = default;
    LoopKind(const LoopKind&) = delete;
    LoopKind& operator=(const LoopKind&) = delete;

    // --- the loop

    // Returns the object of the loop that runs in this thread: a new reference, or null with
    // RuntimeError.
    virtual Ref find_running(ModuleState& state) const = 0;

    // Whether the code that calls this runs in a task or a callback of the loop. From any thread.
    virtual bool runs_here(ModuleState& state, PyObject* loop) const noexcept = 0;

    // Whether this thread may call the loop's methods: the loop runs here, or nowhere. From any
    // thread.
    virtual bool may_touch(ModuleState& state, PyObject* loop) const noexcept = 0;

    // Whether the loop will never step a task again. From any thread.
    virtual bool is_closed(PyObject* loop) const noexcept = 0;

    // What AIOContext.loop returns.
    virtual Ref public_loop(PyObject* loop) const noexcept = 0;

    // --- callbacks

    // Has the loop call `callback` without arguments whenever `fd` is readable, until
    // remove_reader(). False with an exception set.
    virtual bool add_reader(PyObject* loop, int fd, PyObject* callback) const = 0;

    // Does nothing if the loop is closed. Never sets an exception.
    virtual void remove_reader(PyObject* loop, int fd) const noexcept = 0;

    // Has the loop call callback(argument) in its next turn; from any thread. Returns false, with
    // or without an exception set, if the loop will not: the caller then has to signal an fd that
    // the loop watches.
    virtual bool call_soon(ModuleState& state, PyObject* loop, PyObject* callback,
                           PyObject* argument) const = 0;

    // --- tasks

    // Whether the running task is cancelled already. Only for loops that do not throw exceptions
    // into suspended objects: such a task suspends once, so that the loop ends the wait.
    virtual bool is_cancelled(ModuleState& state) const noexcept = 0;

    // Makes the object that wakes `suspended` in a task of the loop. Returns null with an exception
    // set. The object is kept until the task is stepped again.
    virtual Ref make_wake(ModuleState& state, PyObject* loop, Suspended suspended) const = 0;

    // Returns what the awaitable yields to the loop: a new reference, or null with an exception
    // set.
    virtual PyObject* suspension(ModuleState& state, PyObject* wake) const = 0;

    // Called after the wait: returns the exception by which the loop has cancelled it, or null. A
    // loop that throws exceptions into suspended objects always returns null.
    virtual Ref take_cancellation(PyObject* wake) const = 0;

    // Called after the wait instead of take_cancellation(), for a task that goes on with a result
    // though it was cancelled: the loop is to cancel its next wait. Returns false if that can't be
    // had, because the loop holds the cancellation for delivered.
    virtual bool leave_cancellation(PyObject* wake) const noexcept = 0;

    // Whether the loop has cancelled the wait, and has yet to step the task. Only for loops that
    // throw exceptions into suspended objects: the others call Suspended::cancel_wait.
    virtual bool has_cancelled(PyObject* wake) const noexcept = 0;

    // The running task is about to wait although it was cancelled, since the kernel still uses
    // memory of the program. Protects the task from being cancelled again and again meanwhile.
    // Returns an object to give to end_shield() in the next step of the task, or null if nothing is
    // to be done. Sets no exception.
    virtual Ref begin_shield(ModuleState& state) const noexcept = 0;
    virtual void end_shield(PyObject* shield) const noexcept = 0;

    // Has the loop step, in its next turn, the task that waits for `wake`. Does nothing if the task
    // was woken before.
    virtual void wake_soon(PyObject* wake) const noexcept = 0;

    // The same, called by code that closes or steps an awaitable in which a task may be suspended.
    // Does nothing if that code runs in the task itself, which then has stepped it by hand.
    virtual void wake_waiter(PyObject* wake) const noexcept = 0;

    // Whether the loop steps all tasks itself, many in a row. Operations that the tasks queue
    // meanwhile are then submitted in the tasks' steps.
    virtual bool steps_all_tasks() const noexcept { return false; }

    // Whether wake_now() may be called instead of wake_soon(), from a callback of the loop that
    // runs now.
    virtual bool may_wake_now(ModuleState& state, PyObject* loop) const noexcept = 0;

    // Steps the task before it returns. Returns false with an exception that is to end the loop.
    virtual bool wake_now(PyObject* wake) const = 0;

    // Returns the contextvars context that wake_now() steps the task in, or null.
    virtual Ref contextvars_of_wake(PyObject* wake) const noexcept = 0;

protected:
    ~LoopKind() = default;
};

// A loop and its kind. If `object` is null, there is no loop; the kind remains when the object is
// moved away.
struct EventLoop {
    const LoopKind* kind = nullptr;
    Ref object;

    explicit operator bool() const noexcept { return static_cast<bool>(object); }
    PyObject* get() const noexcept { return object.get(); }
    EventLoop copy() const noexcept { return {.kind = kind, .object = Ref::borrow(object.get())}; }
};

}  // namespace python
