// SPDX-License-Identifier: Apache-2.0
#include "python/whole_file_operations.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/operations/file_part.hpp"
#include "engine/operations/path_call.hpp"
#include "engine/operations/read_file.hpp"
#include "engine/operations/replace_file.hpp"
#include "engine/operations/write_file.hpp"
#include "engine/operations/write_here.hpp"

namespace python {
namespace {

// --- results

// Returns None if the file is no regular file.
PyObject* part_result(const ModuleState& /*state*/, CallDetails& details, std::int64_t /*result*/) {
    const auto& part = call_of<engine::ReadPartCall>(details).part();
    if (part.found_stream()) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize(part.data(), static_cast<Py_ssize_t>(part.size()));
}

PyObject* bytes_or_error(const engine::ReadPartsCall::Item& item, PyObject* path) {
    if (item.part.found_stream()) {
        Py_RETURN_NONE;
    }
    if (item.result >= 0) {
        return PyBytes_FromStringAndSize(item.part.data(),
                                         static_cast<Py_ssize_t>(item.part.size()));
    }
    const int error = static_cast<int>(-item.result);
    const auto text = Ref::steal(PyUnicode_DecodeLocale(strerror(error), "surrogateescape"));
    return text ? PyObject_CallFunction(PyExc_OSError, "iOO", error, text.get(), path) : nullptr;
}

// Returns a list of bytes, exceptions, and None for what is no regular file.
PyObject* parts_result(const ModuleState& /*state*/, CallDetails& details,
                       std::int64_t /*result*/) {
    const auto items = call_of<engine::ReadPartsCall>(details).items();
    auto list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(items.size())));
    for (std::size_t i = 0; list && i < items.size(); ++i) {
        const auto place = static_cast<Py_ssize_t>(i);
        PyObject* made =
            bytes_or_error(items[i], PyTuple_GET_ITEM(details.other_path.get(), place));
        if (made == nullptr) {
            return nullptr;
        }
        PyList_SET_ITEM(list.get(), place, made);
    }
    return list.release();
}

// Returns the bytes of a file that was read; the file's size, if the file is too large to be read
// without memory of ours; or None, if it is no regular file.
PyObject* read_result(const ModuleState& /*state*/, CallDetails& details, std::int64_t result) {
    const auto& call = call_of<engine::ReadFileCall>(details);
    if (call.found() == engine::ReadFileCall::Found::stream) {
        Py_RETURN_NONE;
    }
    if (call.found() == engine::ReadFileCall::Found::large) {
        return PyLong_FromLongLong(result);
    }
    const auto rest_size = static_cast<Py_ssize_t>(call.rest_size());
    if (!details.payload) {
        return PyBytes_FromStringAndSize(call.rest(), rest_size);
    }
    const auto filled = static_cast<Py_ssize_t>(call.filled());
    if (rest_size != 0) {  // the file has grown meanwhile
        PyObject* joined = PyBytes_FromStringAndSize(nullptr, filled + rest_size);
        if (joined != nullptr) {
            char* data = PyBytes_AS_STRING(joined);
            std::memcpy(data, PyBytes_AS_STRING(details.payload.get()), call.filled());
            std::memcpy(data + filled, call.rest(), call.rest_size());
        }
        return joined;
    }
    PyObject* bytes = details.payload.release();
    if (filled != PyBytes_GET_SIZE(bytes)) {
        _PyBytes_Resize(&bytes, filled);
    }
    return bytes;
}

// Returns None if the file is no regular file.
template <class WritingCall>
PyObject* written_result(const ModuleState& /*state*/, CallDetails& details, std::int64_t result) {
    if (call_of<WritingCall>(details).found_stream()) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(result);
}

// --- the methods

// Arguments: a path; the size of the memory to allocate for it, or None; whether to bypass the page
// cache.
PyObject* read_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", read_result);
    Place place;
    std::int64_t size = -1;
    bool is_direct = false;
    if (details == nullptr || !to_int64(arguments, 1, "size", size) ||
        !to_bool(arguments, 2, is_direct) ||
        !find_place(*details, argument(arguments, 0), nullptr, false, place)) {
        return nullptr;
    }
    engine::ReadFileCall::Memory memory;
    if (size >= 0) {
        if (size > PY_SSIZE_T_MAX) {
            return PyErr_NoMemory();
        }
        details->payload =
            Ref::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
        if (!details->payload) {
            return nullptr;
        }
        memory = {.data = PyBytes_AS_STRING(details->payload.get()),
                  .size = static_cast<std::size_t>(size)};
    }
    return set_call<engine::ReadFileCall>(*details, place.fd, place.path, memory, is_direct)
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

PyObject* read_part(PyObject* context, Arguments arguments) {
    auto details = make_details("open", part_result);
    Place place;
    std::int64_t offset = 0;
    std::int64_t length = -1;
    return details != nullptr &&
                   find_place(*details, argument(arguments, 0), nullptr, false, place) &&
                   to_int64(arguments, 1, "offset", offset) &&
                   to_int64(arguments, 2, "length", length) &&
                   set_call<engine::ReadPartCall>(*details, place.path, offset, length,
                                                  engine::FilePart::Streams::leave)
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

// _read_parts(paths, offsets, lengths): three sequences of the same length.
PyObject* read_parts(PyObject* context, Arguments arguments) {
    auto details = make_details("open", parts_result);
    if (details == nullptr) {
        return nullptr;
    }
    details->other_path = Ref::steal(PySequence_Tuple(arguments[0]));
    if (!details->other_path) {
        return nullptr;
    }
    const auto offsets = Ref::steal(PySequence_Tuple(arguments[1]));
    if (!offsets) {
        return nullptr;
    }
    const auto lengths = Ref::steal(PySequence_Tuple(arguments[2]));
    if (!lengths) {
        return nullptr;
    }
    PyObject* paths = details->other_path.get();
    const auto count = PyTuple_GET_SIZE(paths);
    if (PyTuple_GET_SIZE(offsets.get()) != count || PyTuple_GET_SIZE(lengths.get()) != count) {
        PyErr_SetString(PyExc_ValueError, "paths, offsets and lengths must have the same length");
        return nullptr;
    }
    details->path = Ref::steal(PyTuple_New(count));  // encoded
    if (!details->path ||
        !set_call<engine::ReadPartsCall>(*details, static_cast<std::size_t>(count))) {
        return nullptr;
    }
    const auto items = call_of<engine::ReadPartsCall>(*details).items();
    if (items.size() != static_cast<std::size_t>(count)) {
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; ++i) {
        Ref path;
        const auto offset =
            to_integer(PyTuple_GET_ITEM(offsets.get(), i), "offset", INT64_MIN, INT64_MAX);
        if (!offset) {
            return nullptr;
        }
        const auto length =
            to_integer(PyTuple_GET_ITEM(lengths.get(), i), "length", INT64_MIN, INT64_MAX);
        if (!length || !encode(PyTuple_GET_ITEM(paths, i), path)) {
            return nullptr;
        }
        items[static_cast<std::size_t>(i)].part =
            engine::FilePart(PyBytes_AS_STRING(path.get()), *offset, *length);
        PyTuple_SET_ITEM(details->path.get(), i, path.release());
    }
    return start_call(context, std::move(details), AT_FDCWD);
}

// The buffer is exported until the call is over, even if its task is cancelled.
PyObject* replace_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", written_result<engine::ReplaceFileCall>);
    Place place;
    engine::ReplaceFileCall::Options options;
    if (details == nullptr || !to_bool(arguments, 2, options.exclusive) ||
        !to_bool(arguments, 3, options.durable) || !to_bool(arguments, 4, options.makes_parents) ||
        !find_place(*details, argument(arguments, 0), nullptr, false, place)) {
        return nullptr;
    }
    details->payload = Ref::steal(PyMemoryView_GetContiguous(arguments[1], PyBUF_READ, 'C'));
    if (!details->payload) {
        return nullptr;
    }
    const Py_buffer* data = PyMemoryView_GET_BUFFER(details->payload.get());
    return set_call<engine::ReplaceFileCall>(*details, place.path,
                                             static_cast<const char*>(data->buf),
                                             static_cast<std::size_t>(data->len), options)
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

// Arguments: a path; a buffer, which is kept exported; whether the file is to be durable, and
// whether the write is to be atomic.
PyObject* write_file(PyObject* context, Arguments arguments) {
    auto details = make_details("open", written_result<engine::WriteFileCall>);
    Place place;
    engine::WriteFileCall::Options options;
    if (details == nullptr || !to_bool(arguments, 2, options.is_durable) ||
        !to_bool(arguments, 3, options.is_atomic) ||
        !find_place(*details, argument(arguments, 0), nullptr, false, place) ||
        !details->buffer.acquire(arguments[1], PyBUF_SIMPLE)) {
        return nullptr;
    }
    return set_call<engine::WriteFileCall>(*details, place.path, details->buffer.data(),
                                           details->buffer.size(), options)
               ? start_call(context, std::move(details), place.fd)
               : nullptr;
}

// Arguments: the fd to write to, at its position; bytes.
PyObject* write_here(PyObject* context, Arguments arguments) {
    auto details = make_details("write", number_result);
    int fd = -1;
    PyObject* data = argument(arguments, 1);
    if (details == nullptr || !to_int(arguments, 0, "fd", fd)) {
        return nullptr;
    }
    if (data == nullptr || !PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "bytes are needed");
        return nullptr;
    }
    details->payload = Ref::borrow(data);
    return set_call<engine::WriteHereCall>(*details, PyBytes_AS_STRING(data),
                                           static_cast<std::size_t>(PyBytes_GET_SIZE(data)))
               ? start_call(context, std::move(details), fd)
               : nullptr;
}

// Arguments: the fd to write to; the fd to read from; the offset (-1: the current position); the
// count.
PyObject* send_file(PyObject* context, Arguments arguments) {
    auto details = make_details("sendfile", number_result);
    int out = -1;
    int in = -1;
    engine::PathArguments values{.first = -1};
    if (details == nullptr || !to_int(arguments, 0, "out_fd", out) ||
        !to_int(arguments, 1, "in_fd", in) || !to_int64(arguments, 2, "offset", values.first) ||
        !to_int64(arguments, 3, "count", values.second) ||
        !set_call<engine::PathCall>(*details, engine::path_functions::sendfile, values)) {
        return nullptr;
    }
    return start_call(context, std::move(details), out < 0 ? -1 : out, in < 0 ? -1 : in);
}

// Arguments: the fd to write to; the fd to read from.
PyObject* copy_file(PyObject* context, Arguments arguments) {
    auto details = make_details("copyfile", number_result);
    int out = -1;
    int in = -1;
    if (details == nullptr || !to_int(arguments, 0, "out_fd", out) ||
        !to_int(arguments, 1, "in_fd", in) ||
        !set_call<engine::PathCall>(*details, engine::path_functions::copy,
                                    engine::PathArguments{})) {
        return nullptr;
    }
    return start_call(context, std::move(details), out < 0 ? -1 : out, in < 0 ? -1 : in);
}

}  // namespace

std::span<const PyMethodDef> whole_file_methods() {
    static const PyMethodDef methods[] = {
        entry<read_file, 1, 3>("_read_file"),       entry<write_file, 2, 4>("_write_file"),
        entry<send_file, 4, 4>("_sendfile"),        entry<copy_file, 2, 2>("_copy"),
        entry<read_part, 1, 3>("_read_part"),       entry<read_parts, 3, 3>("_read_parts"),
        entry<replace_file, 2, 5>("_replace_file"), entry<write_here, 2, 2>("_write_here"),
    };
    static_assert(std::size(methods) <= most_call_methods);
    return methods;
}

}  // namespace python
