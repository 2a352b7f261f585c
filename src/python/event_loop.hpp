// SPDX-License-Identifier: Apache-2.0
// What linux_aio needs of an event loop. Each kind of loop implements LoopKind in a file of its
// own, and event_loop.cpp finds out which kind runs. Nothing else in src/python depends on the
// kind.
//
// A LoopKind has no state: what it needs to know is in the loop's object, which the caller keeps.
// All methods are called in the loop's thread, unless they say something else.
#pragma once

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

class LoopKind {
public:
    LoopKind() = default;
    LoopKind(const LoopKind&) = delete;
    LoopKind& operator=(const LoopKind&) = delete;

    // --- the loop

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

    // The same after a millisecond or so, and not from any thread.
    virtual bool call_later(PyObject* loop, PyObject* callback, PyObject* argument) const = 0;

    // --- tasks

    // What a suspended awaitable yields to the loop, in a task of the loop's: null with an
    // exception set. The awaitable keeps it until it is stepped again.
    virtual Ref make_wake(ModuleState& state, PyObject* loop, AwaitableObject* awaitable) const = 0;

    // Has the loop step, in its next turn, the task that waits for `wake`. Nothing if it was woken
    // before.
    virtual void wake_soon(PyObject* wake) const noexcept = 0;

    // Whether wake_now() may be called instead, now, from a callback of the loop's.
    virtual bool may_wake_now(ModuleState& state, PyObject* loop) const noexcept = 0;

    // Steps the task before it returns. False with an exception that is to end the loop.
    virtual bool wake_now(PyObject* wake) const = 0;

    // The contextvars context that wake_now() steps the task in, or null.
    virtual Ref context_of_wake(PyObject* wake) const noexcept = 0;

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

// The loop whose task or callback this thread runs. Null, with RuntimeError, if there is none.
EventLoop running_loop(ModuleState& state);

}  // namespace python
