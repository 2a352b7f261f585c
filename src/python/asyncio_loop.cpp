// SPDX-License-Identifier: Apache-2.0
#include "python/asyncio_loop.hpp"

#include "python/exceptions.hpp"
#include "python/loop_exceptions.hpp"
#include "python/wake_future.hpp"

namespace python {
namespace {

// Asks the loop a yes-or-no question. Returns false, too, if the loop can't answer.
bool ask(PyObject* loop, const char* method) {
    const auto answer = Ref::steal(PyObject_CallMethod(loop, method, nullptr));
    if (!answer) {
        drop_loops_exception();
        return false;
    }
    return answer.get() == Py_True;
}

// set() stores the object; get() stores the attribute `name` of the module. Both return false with
// an exception set if there is none.
bool set(Ref& place, PyObject* object) {
    place = Ref::steal(object);
    return static_cast<bool>(place);
}
bool get(Ref& place, const Ref& module, const char* name) {
    return set(place, PyObject_GetAttrString(module.get(), name));
}
bool intern(Ref& place, const char* text) { return set(place, PyUnicode_InternFromString(text)); }

// Finds the functions of asyncio that are used, if the program has imported asyncio. A program that
// runs an asyncio loop has imported it. Else returns false, with or without an exception set.
bool find_asyncio(ModuleState& state) {
    // acquire: the functions that another thread has found are visible
    if (state.asyncio_is_imported.load(std::memory_order_acquire)) {
        return true;
    }
    AsyncioApi api;
    const auto name = Ref::steal(PyUnicode_InternFromString("asyncio"));
    const auto module = Ref::steal(name ? PyImport_GetModule(name.get()) : nullptr);
    const auto events = Ref::steal(module ? PyImport_ImportModule("asyncio.events") : nullptr);
    // each step runs only if those before it succeeded
    const bool is_complete =
        events && get(api.get_running_loop, module, "get_running_loop") &&
        get(api.get_running_loop_or_none, events, "_get_running_loop") &&
        get(api.current_task, module, "current_task") && intern(api.call_soon, "call_soon") &&
        intern(api.get_debug, "get_debug") && intern(api.thread_id, "_thread_id") &&
        set(api.context_keyword, Py_BuildValue("(s)", "context")) &&
        get(api.cancelled_error, module, "CancelledError") &&
        get(api.invalid_state_error, module, "InvalidStateError");
    if (!is_complete) {
        return false;
    }
    const std::lock_guard lock(state.mutex);
    if (!state.asyncio_is_imported.load(std::memory_order_relaxed)) {
        std::swap(state.asyncio, api);
        state.asyncio_is_imported.store(true, std::memory_order_release);
    }
    return true;
}

// Calls a method of the loop with two or three arguments, in an empty contextvars context, so that
// the loop keeps none of the caller's context variables. Returns false with an exception set.
bool call_without_context(PyObject* loop, const char* method, PyObject* first, PyObject* second,
                          PyObject* third = nullptr) {
    const auto context = Ref::steal(PyContext_New());
    if (!context || PyContext_Enter(context.get()) != 0) {
        return false;
    }
    const auto name = Ref::steal(PyUnicode_FromString(method));
    const auto result = Ref::steal(
        name ? PyObject_CallMethodObjArgs(loop, name.get(), first, second, third, nullptr)
             : nullptr);
    const KeptException kept;
    PyContext_Exit(context.get());
    return static_cast<bool>(result);
}

class AsyncioLoop final : public LoopKind {
public:
    Ref find_running(ModuleState& state) const override {
        if (find_asyncio(state)) {
            return Ref::steal(PyObject_CallNoArgs(state.asyncio.get_running_loop.get()));
        }
        if (PyErr_Occurred() == nullptr) {
            PyErr_SetString(PyExc_RuntimeError, "no running event loop");
        }
        return {};
    }

    bool runs_here(ModuleState& state, PyObject* loop) const noexcept override {
#if PY_VERSION_HEX < 0x030C0000
        // get_running_loop() makes a system call (getpid) each time. asyncio's own loops note the
        // thread that they run in, and a thread runs only one of them.
        const auto thread = Ref::steal(PyObject_GetAttr(loop, state.asyncio.thread_id.get()));
        if (thread && PyLong_CheckExact(thread.get())) {
            return PyLong_AsUnsignedLong(thread.get()) == PyThread_get_thread_ident();
        }
        PyErr_Clear();
#endif
        const auto running =
            Ref::steal(PyObject_CallNoArgs(state.asyncio.get_running_loop_or_none.get()));
        PyErr_Clear();
        return running.get() == loop;
    }

    bool may_touch(ModuleState& state, PyObject* loop) const noexcept override {
        // false once the end of the module has released the functions of asyncio
        return state.asyncio_is_imported.load(std::memory_order_acquire) &&
               (runs_here(state, loop) || !ask(loop, "is_running"));
    }

    bool is_closed(PyObject* loop) const noexcept override { return ask(loop, "is_closed"); }

    Ref public_loop(PyObject* loop) const noexcept override { return Ref::borrow(loop); }

    bool add_reader(PyObject* loop, int fd, PyObject* callback) const override {
        const auto number = Ref::steal(PyLong_FromLong(fd));
        // If other code has closed a file with this number without telling the loop, the loop still
        // has the number registered, and would never watch our file.
        return number &&
               Ref::steal(PyObject_CallMethod(loop, "remove_reader", "O", number.get())) &&
               call_without_context(loop, "add_reader", number.get(), callback);
    }

    void remove_reader(PyObject* loop, int fd) const noexcept override {
        if (!is_closed(loop)) {
            Ref::steal(PyObject_CallMethod(loop, "remove_reader", "i", fd));
        }
        drop_loops_exception();
    }

    bool call_soon(ModuleState& state, PyObject* loop, PyObject* callback,
                   PyObject* argument) const override {
        const char* method = may_touch(state, loop) ? "call_soon" : "call_soon_threadsafe";
        return call_without_context(loop, method, callback, argument);
    }

    // asyncio throws CancelledError into suspended objects.
    bool is_cancelled(ModuleState& /*state*/) const noexcept override { return false; }
    Ref take_cancellation(PyObject* /*wake*/) const override { return {}; }
    bool leave_cancellation(PyObject* /*wake*/) const noexcept override { return false; }
    bool has_cancelled(PyObject* wake) const noexcept override { return is_cancelled_wait(wake); }

    Ref make_wake(ModuleState& state, PyObject* loop, Suspended /*suspended*/) const override {
        return make_wake_future(state, loop);
    }

    PyObject* suspension(ModuleState& /*state*/, PyObject* wake) const override {
        return Py_NewRef(wake);
    }

    // A cancel scope of anyio cancels its tasks again in each turn of the loop until they have left
    // the scope. A shielded scope inside hides the task from the outer one.
    Ref begin_shield(ModuleState& state) const noexcept override {
        const KeptException kept;
        const auto name = Ref::steal(PyUnicode_InternFromString("anyio"));
        const auto anyio = Ref::steal(name ? PyImport_GetModule(name.get()) : nullptr);
        if (!anyio || !is_in_asyncio_task(state)) {
            PyErr_Clear();
            return {};
        }
        const auto type = Ref::steal(PyObject_GetAttrString(anyio.get(), "CancelScope"));
        const auto options = Ref::steal(type ? Py_BuildValue("{s:O}", "shield", Py_True) : nullptr);
        auto scope = Ref::steal(
            options ? PyObject_VectorcallDict(type.get(), nullptr, 0, options.get()) : nullptr);
        const auto entered =
            Ref::steal(scope ? PyObject_CallMethod(scope.get(), "__enter__", nullptr) : nullptr);
        drop_loops_exception();
        return entered ? std::move(scope) : Ref();
    }

    void end_shield(PyObject* shield) const noexcept override {
        const KeptException kept;
        Ref::steal(PyObject_CallMethod(shield, "__exit__", "OOO", Py_None, Py_None, Py_None));
        drop_loops_exception();  // the task was dropped: its scopes are of no use to anybody
    }

    void wake_soon(PyObject* wake) const noexcept override { python::wake_soon(wake); }
    void wake_waiter(PyObject* wake) const noexcept override { python::wake_soon(wake); }

    // False in debug mode, or if the loop can't tell: then all callbacks have to go through
    // call_soon(), where the loop looks for slow ones.
    bool may_wake_now(ModuleState& state, PyObject* loop) const noexcept override {
        const auto debugs =
            Ref::steal(PyObject_CallMethodNoArgs(loop, state.asyncio.get_debug.get()));
        drop_loops_exception();
        return debugs.get() == Py_False;
    }

    bool wake_now(PyObject* wake) const override { return python::wake_now(wake); }

    Ref contextvars_of_wake(PyObject* wake) const noexcept override {
        return callback_contextvars_of(wake);
    }
};

}  // namespace

const LoopKind& asyncio_loop() noexcept {
    static const AsyncioLoop kind;
    return kind;
}

bool is_in_asyncio_task(ModuleState& state) noexcept {
    const KeptException kept;
    bool is_in_task = false;
    if (find_asyncio(state)) {
        const auto loop =
            Ref::steal(PyObject_CallNoArgs(state.asyncio.get_running_loop_or_none.get()));
        if (loop && loop.get() != Py_None) {
            const auto task = Ref::steal(PyObject_CallNoArgs(state.asyncio.current_task.get()));
            is_in_task = task && task.get() != Py_None;
        }
    }
    PyErr_Clear();
    return is_in_task;
}

}  // namespace python
