// SPDX-License-Identifier: Apache-2.0
#include "python/buffered_files.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "python/gil.hpp"

namespace python {
namespace {

bool get(Ref& place, const Ref& module, const char* name) {
    place = Ref::steal(PyObject_GetAttrString(module.get(), name));
    return static_cast<bool>(place);
}

bool is_instance(PyObject* object, const Ref& type) noexcept {
    return type && PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(type.get()));
}

bool is_named(PyObject* object, const char* type) noexcept {
    return std::strcmp(Py_TYPE(object)->tp_name, type) == 0;
}

// Whether the object is of a Python class that decodes what it reads. The check is by name, so that
// the module codecs need not be imported.
bool is_codec(PyObject* object) noexcept {
    return is_named(object, "StreamReaderWriter") || is_named(object, "StreamReader") ||
           is_named(object, "StreamWriter");
}

// The classes whose objects have a file object within, by the name of the attribute.
struct Wrapper {
    const char* type;
    const char* attribute;
    bool changes_file = false;  // the attribute is another file once fileno() was called
};
constexpr std::array wrappers{
    Wrapper{.type = "_TemporaryFileWrapper", .attribute = "file"},
    Wrapper{.type = "SpooledTemporaryFile", .attribute = "_file", .changes_file = true},
    Wrapper{.type = "StreamRecoder", .attribute = "stream"},
    Wrapper{.type = "AsyncFile", .attribute = "wrapped"},          // anyio
    Wrapper{.type = "AsyncIOWrapper", .attribute = "wrapped"},     // Trio
    Wrapper{.type = "AsyncBufferedIOBase", .attribute = "_file"},  // aiofiles
    Wrapper{.type = "AsyncBufferedReader", .attribute = "_file"},
    Wrapper{.type = "AsyncTextIOWrapper", .attribute = "_file"},
};

bool is_text(const IoTypes& types, PyObject* object) noexcept {
    return is_instance(object, types.text) || is_codec(object);
}

// Returns -1 without an exception if the position is not known.
std::int64_t position_of(PyObject* buffered) {
    const auto position = Ref::steal(PyObject_CallMethod(buffered, "tell", nullptr));
    const auto value = position ? PyLong_AsLongLong(position.get()) : -1;
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        return -1;
    }
    return value;
}

}  // namespace

bool import_io_types(IoTypes& types) {
    const auto module = Ref::steal(PyImport_ImportModule("_io"));
    return module && get(types.file, module, "FileIO") && get(types.text, module, "_TextIOBase") &&
           get(types.buffered, module, "_BufferedIOBase");
}

Ref find_buffered_file(const IoTypes& types, PyObject* object) {
    if (Py_IS_TYPE(object, reinterpret_cast<PyTypeObject*>(types.file.get()))) {
        return {};
    }
    if (is_instance(object, types.buffered) || is_text(types, object)) {
        return Ref::borrow(object);
    }
    const auto wrapper = std::ranges::find_if(
        wrappers, [=](const auto& known) { return is_named(object, known.type); });
    if (wrapper == wrappers.end()) {
        return {};
    }
    const auto inner = Ref::steal(PyObject_GetAttrString(object, wrapper->attribute));
    if (!inner) {
        PyErr_Clear();
        return {};
    }
    if (Py_EnterRecursiveCall(" while looking for the file object within another") != 0) {
        PyErr_Clear();  // a wrapper that has itself within
        return {};
    }
    auto found = find_buffered_file(types, inner.get());
    Py_LeaveRecursiveCall();
    const bool has_its_own_file_later =
        found && wrapper->changes_file && !is_text(types, found.get());
    return has_its_own_file_later ? Ref::borrow(object) : std::move(found);
}

bool check_not_text(const IoTypes& types, PyObject* buffered) {
    if (!is_text(types, buffered)) {
        return true;
    }
    raise_is_text(buffered);
    return false;
}

void raise_is_text(PyObject* file) {
    PyErr_Format(PyExc_ValueError,
                 "fd is a file object in text mode (%.100s), whose own buffer operations don't "
                 "see: open the file with buffering=0 in binary mode, or give its fileno()",
                 Py_TYPE(file)->tp_name);
}

bool check_holds_nothing(PyObject* buffered, int fd) {
    std::int64_t of_file = -1;
    {
        // lseek(2) waits while another thread of the program's reads the file
        const GilRelease release;
        of_file = lseek(fd, 0, SEEK_CUR);
    }
    const auto of_object = of_file >= 0 ? position_of(buffered) : -1;
    if (of_object < 0 || of_object == of_file) {
        return true;
    }
    const bool is_unwritten = of_object > of_file;
    PyErr_Format(PyExc_ValueError,
                 "fd is a file object (%.100s) that holds %lld bytes which %s: open the file with "
                 "buffering=0%s",
                 Py_TYPE(buffered)->tp_name,
                 static_cast<long long>(is_unwritten ? of_object - of_file : of_file - of_object),
                 is_unwritten ? "it has not written yet" : "it has read ahead",
                 is_unwritten ? ", or flush() it first" : ", or give its fileno()");
    return false;
}

}  // namespace python
