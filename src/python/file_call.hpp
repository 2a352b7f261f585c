// SPDX-License-Identifier: Apache-2.0
// The coroutine that read(), readline(), write() and __anext__() of a file return. If the buffers
// hold what was asked for, the coroutine ends in its first step. See file_base.hpp.
#pragma once

#include <cstdint>

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// The properties of one method.
struct FileMethod {
    const char* name = nullptr;  // shown in messages: "File.read"
    const char* slow = nullptr;  // the subclass's coroutine function
    // If the call may begin with a request of its own: see file_base.hpp. `release` releases the
    // lock that `begin` has taken. `rest` is the coroutine function that does what is left.
    Ref (*begin)(PyObject* file, Py_ssize_t size, bool& has_lock) = nullptr;
    PyObject* (*end)(PyObject* file, Py_ssize_t size, PyObject* result) = nullptr;
    bool (*release)(PyObject* file) = nullptr;
    const char* rest = nullptr;
    PyObject* (*read_at_once)(PyObject* file, Py_ssize_t size) = nullptr;  // or:
    PyObject* (*write_at_once)(PyObject* file, PyObject* data) = nullptr;
    bool has_argument = true;
    bool is_next = false;  // __anext__(): an empty result raises StopAsyncIteration
};

struct FileCall {
    enum class Phase : std::uint8_t { created, delegating, finished };

    const FileMethod* method = nullptr;
    Phase phase = Phase::created;
    bool is_running = false;
    bool was_awaited = false;
    Py_ssize_t size = 0;
    Ref file;
    Ref data;
    Ref delegate;            // the subclass's coroutine, or the awaitable of a request
    bool has_lock = false;   // of the file, for a request and the rest
    bool does_rest = false;  // the delegate is the coroutine that does the rest
};

struct FileCallObject : PyObject, FileCall {};

PyTypeObject* make_file_call_type(PyObject* module);

// Returns a new FileCall, or null with MemoryError. `data` is null for methods that read.
PyObject* make_file_call(ModuleState& state, const FileMethod& method, PyObject* file,
                         Py_ssize_t size, PyObject* data);

}  // namespace python
