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

}  // namespace

bool import_asyncio(ModuleState& state) {
    // acquire: what was found is there
    if (state.asyncio_is_imported.load(std::memory_order_acquire)) {
        return true;
    }
    AsyncioApi api;
    const auto module = Ref::steal(PyImport_ImportModule("asyncio"));
    const auto events = Ref::steal(PyImport_ImportModule("asyncio.events"));
    if (!module || !events) {
        return false;
    }
    api.get_running_loop = Ref::steal(PyObject_GetAttrString(module.get(), "get_running_loop"));
    api.get_running_loop_or_none =
        Ref::steal(PyObject_GetAttrString(events.get(), "_get_running_loop"));
    api.call_soon = Ref::steal(PyUnicode_InternFromString("call_soon"));
    api.get_debug = Ref::steal(PyUnicode_InternFromString("get_debug"));
    api.thread_id = Ref::steal(PyUnicode_InternFromString("_thread_id"));
    api.context_keyword = Ref::steal(Py_BuildValue("(s)", "context"));
    api.cancelled_error = Ref::steal(PyObject_GetAttrString(module.get(), "CancelledError"));
    if (!api.get_running_loop || !api.get_running_loop_or_none || !api.call_soon ||
        !api.get_debug || !api.thread_id || !api.context_keyword || !api.cancelled_error) {
        return false;
    }
    api.invalid_state_error = Ref::steal(PyObject_GetAttrString(module.get(), "InvalidStateError"));
    if (!api.invalid_state_error) {
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
    if (!import_asyncio(state)) {
        PyErr_Clear();
        return false;
    }
    return runs_here(state, loop) || !ask(loop, "is_running");
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
