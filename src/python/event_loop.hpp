// SPDX-License-Identifier: Apache-2.0
// What linux_aio needs of an event loop. Each kind of loop implements LoopKind in a file of its
// own, and running_loop.cpp finds out which kind runs. Nothing else in src/python depends on the
// kind.
//
// A LoopKind has no state: what it needs to know is in the loop's object, which the caller keeps.
// All methods are called in the loop's thread, unless they say something else.
#pragma once

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// What is suspended in a task, as a kind of loop sees it.
struct Suspended {
    PyObject* object = nullptr;  // not owned

    // For a loop that does not throw exceptions into what is suspended: its task is cancelled.
    // Returns whether the object may end at once: then what it waited for goes on without it, or is
    // not begun. Else the task goes on when that has completed.
    bool (*cancel_wait)(PyObject* object) noexcept = nullptr;
};

class LoopKind {
public:
    LoopKind() = default;
    LoopKind(const LoopKind&) = delete;
    LoopKind& operator=(const LoopKind&) = delete;

    // --- the loop

    // The object of the loop that runs in this thread: a new reference, or null with RuntimeError.
    virtual Ref find_running(ModuleState& state) const = 0;

    // Whether the code that calls this runs in a task or a callback of the loop. From any thread.
    virtual bool runs_here(ModuleState& state, PyObject* loop) const noexcept = 0;

    // Whether this thread may call the loop's methods: the loop runs here, or nowhere. From any
    // thread.
    virtual bool may_touch(ModuleState& state, PyObject* loop) const noexcept = 0;

    // Whether it will never step a task again. From any thread.
    virtual bool is_closed(PyObject* loop) const noexcept = 0;

    // What AIOContext.loop returns.
    virtual Ref public_loop(PyObject* loop) const noexcept = 0;

    // --- callbacks

    // Has the loop call `callback` without arguments whenever `fd` is readable, until
    // remove_reader(). False with an exception set.
    virtual bool add_reader(PyObject* loop, int fd, PyObject* callback) const = 0;

    // Nothing if the loop is closed. No exception is set, whatever happens.
    virtual void remove_reader(PyObject* loop, int fd) const noexcept = 0;

    // Has the loop call callback(argument) in its next turn; from any thread. False, with or
    // without an exception set, if it will not: then an fd that it watches has to bring it.
    virtual bool call_soon(ModuleState& state, PyObject* loop, PyObject* callback,
                           PyObject* argument) const = 0;

    // --- tasks

    // Whether the running task is cancelled already, where the loop does not throw exceptions into
    // what is suspended. Such a task suspends once, so that the loop ends the wait.
    virtual bool is_cancelled(ModuleState& state) const noexcept = 0;

    // What something suspended in a task of the loop's is woken by: null with an exception set. It
    // is kept until the task is stepped again.
    virtual Ref make_wake(ModuleState& state, PyObject* loop, Suspended suspended) const = 0;

    // What the awaitable yields to the loop: a new reference, or null with an exception set.
    virtual PyObject* suspension(ModuleState& state, PyObject* wake) const = 0;

    // After the wait: the exception by which the loop has cancelled it, or null. Where the loop
    // throws exceptions into what is suspended, there is none.
    virtual Ref take_cancellation(PyObject* wake) const = 0;

    // The task that runs is about to wait although it was cancelled, for memory that the kernel
    // has: keeps those away who would cancel it again and again meanwhile. Returns what
    // end_shield() is given in the next step of the task, or null if there is nothing to do. No
    // exception is set.
    virtual Ref begin_shield(ModuleState& state) const noexcept = 0;
    virtual void end_shield(PyObject* shield) const noexcept = 0;

    // Has the loop step, in its next turn, the task that waits for `wake`. Nothing if it was woken
    // before.
    virtual void wake_soon(PyObject* wake) const noexcept = 0;

    // Whether it steps all tasks itself, many in a row: what they queue meanwhile is submitted in
    // their steps.
    virtual bool steps_all_tasks() const noexcept { return false; }

    // Whether wake_now() may be called instead, now, from a callback of the loop's.
    virtual bool may_wake_now(ModuleState& state, PyObject* loop) const noexcept = 0;

    // Steps the task before it returns. False with an exception that is to end the loop.
    virtual bool wake_now(PyObject* wake) const = 0;

    // The contextvars context that wake_now() steps the task in, or null.
    virtual Ref contextvars_of_wake(PyObject* wake) const noexcept = 0;

protected:
    ~LoopKind() = default;
};

// A loop and its kind. No loop if `object` is null; the kind stays when the object is moved away.
struct EventLoop {
    const LoopKind* kind = nullptr;
    Ref object;

    explicit operator bool() const noexcept { return static_cast<bool>(object); }
    PyObject* get() const noexcept { return object.get(); }
    EventLoop copy() const noexcept { return {.kind = kind, .object = Ref::borrow(object.get())}; }
};

}  // namespace python
