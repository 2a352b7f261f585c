// SPDX-License-Identifier: Apache-2.0
#include "python/file_functions.hpp"

#include <fcntl.h>

#include <cerrno>
#include <climits>
#include <cstdint>

#include "engine/mapped_memory.hpp"
#include "engine/operations/file_part.hpp"
#include "engine/operations/new_file.hpp"
#include "engine/operations/replace_file.hpp"
#include "python/arguments.hpp"
#include "python/buffer_owners.hpp"
#include "python/buffer_view.hpp"
#include "python/gil.hpp"

namespace python {
namespace {

bool has_arguments(Py_ssize_t count, Py_ssize_t wanted) {
    if (count != wanted) {
        PyErr_Format(PyExc_TypeError, "%zd arguments are expected, not %zd", wanted, count);
    }
    return count == wanted;
}

Ref encoded(PyObject* path) {
    PyObject* bytes = nullptr;
    return PyUnicode_FSConverter(path, &bytes) != 0 ? Ref::steal(bytes) : Ref();
}

// Carries out the call, and raises the error of a negative result.
bool run(engine::Call& call, PyObject* path) {
    std::int64_t result = 0;
    {
        const GilRelease release;
        result = call.run({});
    }
    if (result < 0) {
        errno = static_cast<int>(-result);
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    }
    return result >= 0;
}

}  // namespace

PyObject* is_mapped_from_disk(PyObject* /*module*/, PyObject* buffer) {
    if (owns_plain_memory(buffer)) {
        Py_RETURN_FALSE;
    }
    BufferView view;
    if (!view.acquire(buffer, PyBUF_SIMPLE)) {
        return nullptr;
    }
    return PyBool_FromLong(engine::is_mapped_from_disk(view.data(), view.size()) ? 1 : 0);
}

PyObject* read_part_now(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count) {
    if (!has_arguments(count, 3)) {
        return nullptr;
    }
    const auto path = encoded(arguments[0]);
    if (!path) {
        return nullptr;
    }
    const auto offset = to_integer(arguments[1], "offset", INT64_MIN, INT64_MAX);
    if (!offset) {
        return nullptr;
    }
    const auto length = to_integer(arguments[2], "length", INT64_MIN, INT64_MAX);
    if (!length) {
        return nullptr;
    }
    engine::ReadPartCall call(PyBytes_AS_STRING(path.get()), *offset, *length,
                              engine::FilePart::Streams::read);
    return run(call, arguments[0])
               ? PyBytes_FromStringAndSize(call.part().data(),
                                           static_cast<Py_ssize_t>(call.part().size()))
               : nullptr;
}

PyObject* replace_file_now(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count) {
    if (!has_arguments(count, 5)) {
        return nullptr;
    }
    const int exclusive = PyObject_IsTrue(arguments[2]);
    const int durable = PyObject_IsTrue(arguments[3]);
    const int makes_parents = PyObject_IsTrue(arguments[4]);
    if (exclusive < 0 || durable < 0 || makes_parents < 0) {
        return nullptr;
    }
    const auto path = encoded(arguments[0]);
    if (!path) {
        return nullptr;
    }
    const auto view = Ref::steal(PyMemoryView_GetContiguous(arguments[1], PyBUF_READ, 'C'));
    if (!view) {
        return nullptr;
    }
    const Py_buffer* data = PyMemoryView_GET_BUFFER(view.get());
    engine::ReplaceFileCall call(PyBytes_AS_STRING(path.get()), static_cast<const char*>(data->buf),
                                 static_cast<std::size_t>(data->len),
                                 {.exclusive = exclusive != 0,
                                  .durable = durable != 0,
                                  .makes_parents = makes_parents != 0,
                                  .writes_streams = true});
    return run(call, arguments[0]) ? PyLong_FromSsize_t(data->len) : nullptr;
}

PyObject* take_old_status(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count) {
    if (!has_arguments(count, 2)) {
        return nullptr;
    }
    const auto path = encoded(arguments[0]);
    if (!path) {
        return nullptr;
    }
    const auto fd = to_integer(arguments[1], "fd", 0, INT_MAX);
    if (!fd) {
        return nullptr;
    }
    bool exists = false;
    int error = 0;
    {
        const GilRelease release;
        const auto old = engine::find_link_target(AT_FDCWD, PyBytes_AS_STRING(path.get()));
        error = old.error;
        exists = old.exists;
        if (error == 0 && exists) {
            error = -engine::keep_what_the_old_has(old, static_cast<int>(*fd));
        }
    }
    if (error != 0) {
        errno = error;
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, arguments[0]);
    }
    return PyBool_FromLong(exists ? 1 : 0);
}

PyObject* new_bytes(PyObject* /*module*/, PyObject* lengths) {
    const auto given = Ref::steal(PySequence_Tuple(lengths));
    if (!given) {
        return nullptr;
    }
    const auto count = PyTuple_GET_SIZE(given.get());
    auto made = Ref::steal(PyList_New(count));
    auto views = Ref::steal(PyList_New(count));
    if (!made || !views) {
        return nullptr;
    }
    for (Py_ssize_t i = 0; i < count; ++i) {
        const auto length =
            to_integer(PyTuple_GET_ITEM(given.get(), i), "length", 0, PY_SSIZE_T_MAX);
        if (!length) {
            return nullptr;
        }
        const auto size = static_cast<Py_ssize_t>(*length);
        PyObject* bytes = PyBytes_FromStringAndSize(nullptr, size);
        if (bytes == nullptr) {
            return nullptr;
        }
        PyList_SET_ITEM(made.get(), i, bytes);
        // all bytes objects of length 0 are one shared object
        PyObject* view = PyMemoryView_FromMemory(PyBytes_AS_STRING(bytes), size,
                                                 size > 0 ? PyBUF_WRITE : PyBUF_READ);
        if (view == nullptr) {
            return nullptr;
        }
        PyList_SET_ITEM(views.get(), i, view);
    }
    return PyTuple_Pack(2, made.get(), views.get());
}

}  // namespace python
