// SPDX-License-Identifier: Apache-2.0
#include "python/asyncio_api.hpp"

#include "python/exceptions.hpp"

namespace python {
namespace {

// A question to a loop. False, too, if it can't answer.
bool ask(PyObject* loop, const char* method) {
    const auto answer = Ref::steal(PyObject_CallMethod(loop, method, nullptr));
    if (!answer) {
        PyErr_Clear();
        return false;
    }
    return answer.get() == Py_True;
}

// Each of these: false with an exception set.
bool set(Ref& place, PyObject* object) {
    place = Ref::steal(object);
    return static_cast<bool>(place);
}
bool get(Ref& place, const Ref& module, const char* name) {
    return set(place, PyObject_GetAttrString(module.get(), name));
}
bool intern(Ref& place, const char* text) { return set(place, PyUnicode_InternFromString(text)); }

}  // namespace

bool import_asyncio(ModuleState& state) {
    // acquire: what was found is there
    if (state.asyncio_is_imported.load(std::memory_order_acquire)) {
        return true;
    }
    AsyncioApi api;
    const auto module = Ref::steal(PyImport_ImportModule("asyncio"));
    const auto events = Ref::steal(module ? PyImport_ImportModule("asyncio.events") : nullptr);
    // one after the other, each only if those before it are there
    const bool is_complete = events && get(api.get_running_loop, module, "get_running_loop") &&
                             get(api.get_running_loop_or_none, events, "_get_running_loop") &&
                             intern(api.call_soon, "call_soon") &&
                             intern(api.get_debug, "get_debug") &&
                             intern(api.thread_id, "_thread_id") &&
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

Ref running_loop(ModuleState& state) {
    if (!import_asyncio(state)) {
        return {};
    }
    return Ref::steal(PyObject_CallNoArgs(state.asyncio.get_running_loop.get()));
}

bool runs_here(ModuleState& state, PyObject* loop) {
#if PY_VERSION_HEX < 0x030C0000
    // get_running_loop() makes a system call (getpid) each time. asyncio's own loops have noted the
    // thread that they run in, and no two run in one thread.
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

bool may_touch(ModuleState& state, PyObject* loop) {
    // not where the module's end has let go of asyncio
    return state.asyncio_is_imported.load(std::memory_order_acquire) &&
           (runs_here(state, loop) || !ask(loop, "is_running"));
}

bool is_closed(PyObject* loop) { return ask(loop, "is_closed"); }

bool is_debugging(const ModuleState& state, PyObject* loop) noexcept {
    const auto answer = Ref::steal(PyObject_CallMethodNoArgs(loop, state.asyncio.get_debug.get()));
    PyErr_Clear();
    return answer.get() != Py_False;
}

bool call_without_context(PyObject* loop, const char* method, PyObject* first, PyObject* second,
                          PyObject* third) {
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

}  // namespace python
