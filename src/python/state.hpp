// SPDX-License-Identifier: Apache-2.0
// The state of the module, one for each interpreter that imported it.
#pragma once

#include <atomic>
#include <mutex>

#include "python/aligned_pool.hpp"
#include "python/buffered_files.hpp"
#include "python/free_list.hpp"
#include "python/refs.hpp"
#include "python/stat_result.hpp"

namespace python {

struct Awaitable;
struct AwaitableObject;
struct ContextObject;
struct Operation;
struct OperationObject;
struct FileCall;
struct FileCallObject;
struct WakeFuture;
struct WakeFutureObject;
struct TrioWake;
struct TrioWakeObject;

using FreeOperations = FreeList<OperationObject, Operation, 256>;
using FreeAwaitables = FreeList<AwaitableObject, Awaitable, 64>;
using FreeFileCalls = FreeList<FileCallObject, FileCall, 64>;
using FreeWakeFutures = FreeList<WakeFutureObject, WakeFuture, 64>;
using FreeTrioWakes = FreeList<TrioWakeObject, TrioWake, 64>;

// The objects of asyncio that this module uses (see asyncio_loop.hpp).
struct AsyncioApi {
    Ref get_running_loop;
    Ref get_running_loop_or_none;
    Ref current_task;
    Ref call_soon;  // interned: "call_soon", "get_debug", "_thread_id"
    Ref get_debug;
    Ref thread_id;
    Ref context_keyword;  // ("context",)
    Ref cancelled_error;
    Ref invalid_state_error;
};

// The objects of Trio that this module uses (see trio_loop.hpp): the return value of a function in
// linux_aio/_trio.py, in the same order.
struct TrioApi {
    Ref sniffio_thread_local;  // or None
    Ref in_trio_run;           // or None; at least one of these two is set
    Ref is_within_asyncio;
    Ref current_run;
    Ref current_trio_token;
    Ref current_task;
    Ref current_effective_deadline;
    Ref make_suspension;
    Ref reschedule;
    Ref abort_succeeded;
    Ref abort_failed;
    // interned: "name", "trio", "token", "_cancel_status", "effectively_cancelled"
    Ref name;
    Ref trio;
    Ref token;
    Ref cancel_status;
    Ref effectively_cancelled;
};

struct ModuleState {
    PyTypeObject* eventfd_type = nullptr;
    PyTypeObject* operation_type = nullptr;
    PyTypeObject* context_type = nullptr;
    PyTypeObject* aligned_buffer_type = nullptr;
    PyTypeObject* dir_entry_type = nullptr;
    PyTypeObject* awaitable_type = nullptr;
    PyTypeObject* file_base_type = nullptr;
    PyTypeObject* file_call_type = nullptr;
    PyTypeObject* text_base_type = nullptr;
    PyTypeObject* watcher_type = nullptr;
    PyTypeObject* wake_future_type = nullptr;
    PyTypeObject* trio_wake_type = nullptr;

    IoTypes io;  // constant once the module is loaded

    AsyncioApi asyncio;  // constant once it is imported
    std::atomic<bool> asyncio_is_imported = false;
    TrioApi trio;  // constant once it is found
    std::atomic<bool> trio_is_found = false;
    std::atomic<Py_ssize_t> modules_at_last_look = -1;  // the size of sys.modules then

    StatResultType stat_result;

    FreeOperations free_operations;
    FreeAwaitables free_awaitables;
    FreeFileCalls free_file_calls;
    FreeWakeFutures free_wake_futures;
    FreeTrioWakes free_trio_wakes;
    AlignedPool aligned_pool;

    // All contexts that are not closed, linked through themselves; not owned (see registry.hpp).
    ContextObject* first_context = nullptr;

    // Protects `asyncio`, `trio` and the list of contexts. While it is held, no function of Python
    // that can wait is called.
    std::mutex mutex;
};

// Returns the state of the module that made a type or an instance. The module's types can't be
// subclassed.
inline ModuleState& state_of(PyTypeObject* type) noexcept {
    return *static_cast<ModuleState*>(PyType_GetModuleState(type));
}
inline ModuleState& state_of(PyObject* instance) noexcept { return state_of(Py_TYPE(instance)); }

// The same, for the destruction of an object. Returns null if the object is destroyed after its
// type has lost the module.
inline ModuleState* state_or_null(PyObject* instance) noexcept {
    auto* module = reinterpret_cast<PyHeapTypeObject*>(Py_TYPE(instance))->ht_module;
    return module != nullptr ? static_cast<ModuleState*>(PyModule_GetState(module)) : nullptr;
}

// Makes a heap type, adds it to the module under its name, and returns a new reference or null.
PyTypeObject* add_type(PyObject* module, PyType_Spec* spec);

// An object of ours is a PyObject with its fields behind it: `struct ThingObject : PyObject,
// Thing`. If the list of weak references is the first field, this is its place in the object.
template <class Fields>
constexpr Py_ssize_t weak_references_offset() noexcept {
    return (sizeof(PyObject) + alignof(Fields) - 1) / alignof(Fields) * alignof(Fields);
}

// CPython's method tables hold function pointers of one type, whatever the type of the function.
template <class Function>
PyCFunction as_method(Function* function) noexcept {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}
template <class Function>
void* as_slot(Function* function) noexcept {
    return reinterpret_cast<void*>(function);
}

}  // namespace python
