// SPDX-License-Identifier: Apache-2.0
// Reads decoded text and writes encoded text without waiting: see file_base.hpp.
#include "python/file_base.hpp"

#include <structmember.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "python/file_call.hpp"
#include "python/gil.hpp"

namespace python {
namespace {

TextBaseObject* cast(PyObject* self) { return static_cast<TextBaseObject*>(self); }
FileBaseObject* file_of(const TextBase* self) noexcept {
    return static_cast<FileBaseObject*>(self->file.get());
}

// --- lines

// Returns the place of a character between two places, or -1.
Py_ssize_t find(PyObject* text, Py_UCS4 character, Py_ssize_t start, Py_ssize_t end) {
    return PyUnicode_FindChar(text, character, start, end, 1);
}

// Looks at a part at a time: where all lines end with the same character, the search for the other
// one would go through all of the text for each line.
Py_ssize_t find_universal(PyObject* text, Py_ssize_t start, Py_ssize_t end) {
    constexpr Py_ssize_t part = 1024;
    for (auto from = start; from < end; from += part) {
        const auto to = std::min(from + part, end);
        const auto newline = find(text, '\n', from, to);
        const auto before = find(text, '\r', from, newline < 0 ? to : newline);
        if (before >= 0) {
            const bool is_both = before + 1 < end && PyUnicode_READ_CHAR(text, before + 1) == '\n';
            return is_both ? before + 2 : before + 1;
        }
        if (newline >= 0) {
            return newline + 1;
        }
    }
    return -1;
}

Py_ssize_t find_both(PyObject* text, Py_ssize_t start, Py_ssize_t end) {
    for (auto place = start; (place = find(text, '\r', place, end)) >= 0; ++place) {
        if (place + 1 < end && PyUnicode_READ_CHAR(text, place + 1) == '\n') {
            return place + 2;
        }
    }
    return -1;
}

// Returns the place after the first line's end, or -1 if there is none.
Py_ssize_t find_line_end(PyObject* text, LineEnd line_end, Py_ssize_t start, Py_ssize_t end) {
    switch (line_end) {
        case LineEnd::universal:
            return find_universal(text, start, end);
        case LineEnd::both:
            return find_both(text, start, end);
        case LineEnd::newline:
        case LineEnd::carriage_return:
            break;
    }
    const auto place = find(text, line_end == LineEnd::newline ? '\n' : '\r', start, end);
    return place < 0 ? -1 : place + 1;
}

// Takes out the text up to a place. Returns null with MemoryError.
PyObject* take_to(TextBase* self, Py_ssize_t end) {
    PyObject* result = PyUnicode_Substring(self->text.get(), self->position, end);
    if (result != nullptr) {
        self->position = end;
    }
    return result;
}

bool has_text(const TextBase* self) noexcept {
    return self->text && self->file && may_read_text(file_of(self));
}

// --- calls

PyObject* next_text_line_at_once(PyObject* object, Py_ssize_t limit) {
    cast(object)->is_iterating = 1;
    return read_text_line_at_once(object, limit);
}

constexpr FileMethod read_method{
    .name = "TextFile.read", .slow = "_read_slow", .read_at_once = read_text_at_once};
constexpr FileMethod readline_method{
    .name = "TextFile.readline", .slow = "_readline_slow", .read_at_once = read_text_line_at_once};
constexpr FileMethod next_method{.name = "TextFile.__anext__",
                                 .slow = "_next_slow",
                                 .read_at_once = next_text_line_at_once,
                                 .is_next = true};
constexpr FileMethod write_method{
    .name = "TextFile.write", .slow = "_write_slow", .write_at_once = write_text_at_once};

PyDoc_STRVAR(
    read_doc,
    "read($self, size=-1, /)\n--\n\n"
    "Read up to size characters, or all that are left if size is negative or None.\n\n"
    "The result is shorter only at the end of the file, where it is \"\". UnicodeDecodeError, a\n"
    "ValueError, for bytes that are not of the encoding.");

PyObject* text_read(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    Py_ssize_t size = -1;
    if (!parse_size("read", arguments, count, size)) {
        return nullptr;
    }
    return make_file_call(*cast(object)->state, read_method, object, size, nullptr);
}

PyDoc_STRVAR(readline_doc, "readline($self, size=-1, /)\n--\n\n"
                           "Read a line with its end, or its first size characters.\n\n"
                           "The result is \"\" at the end of the file. A line that is in the "
                           "buffer costs no system call.");

PyObject* text_readline(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    Py_ssize_t size = -1;
    if (!parse_size("readline", arguments, count, size)) {
        return nullptr;
    }
    return make_file_call(*cast(object)->state, readline_method, object, size, nullptr);
}

PyObject* text_anext(PyObject* object) {
    return make_file_call(*cast(object)->state, next_method, object, -1, nullptr);
}

PyDoc_STRVAR(
    write_doc,
    "write($self, text, /)\n--\n\n"
    "Write text, and return how many characters it has.\n\n"
    "It is gathered, and written while the program goes on, unless it is more than the buffer\n"
    "takes. An error of that is raised by the next write(), flush() or close().\n"
    "UnicodeEncodeError, a ValueError, for characters that the encoding does not have.");

PyObject* text_write(PyObject* object, PyObject* text) {
    return make_file_call(*cast(object)->state, write_method, object, 0, text);
}

// --- for the subclass

PyObject* text_fill(PyObject* object, PyObject* text) {
    if (text != Py_None && !PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "decoder should return a string result, not '%.200s'",
                     Py_TYPE(text)->tp_name);
        return nullptr;
    }
    const ObjectLock lock(object);
    auto* self = cast(object);
    self->text = text != Py_None ? Ref::borrow(text) : Ref();
    self->position = 0;
    Py_RETURN_NONE;
}

PyObject* text_get_text(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    return cast(object)->text.new_ref_or_none();
}

PyObject* text_left(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    const auto* self = cast(object);
    return PyLong_FromSsize_t(self->text ? PyUnicode_GET_LENGTH(self->text.get()) - self->position
                                         : 0);
}

PyObject* text_take(PyObject* object, PyObject* argument) {
    const auto count = PyLong_AsSsize_t(argument);
    if (count == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const ObjectLock lock(object);
    auto* self = cast(object);
    if (!self->text) {
        return PyUnicode_New(0, 0);
    }
    const auto length = PyUnicode_GET_LENGTH(self->text.get());
    const auto left = length - self->position;
    return take_to(self, count < 0 || count > left ? length : self->position + count);
}

// Returns a line, or as much of it as is in the buffer.
PyObject* text_take_line(PyObject* object, PyObject* argument) {
    const auto limit = PyLong_AsSsize_t(argument);
    if (limit == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const ObjectLock lock(object);
    auto* self = cast(object);
    if (!self->text) {
        return PyUnicode_New(0, 0);
    }
    const auto length = PyUnicode_GET_LENGTH(self->text.get());
    const auto left = length - self->position;
    const auto last = limit < 0 || limit > left ? length : self->position + limit;
    const auto end =
        find_line_end(self->text.get(), static_cast<LineEnd>(self->line_end), self->position, last);
    return take_to(self, end < 0 ? last : end);
}

// Appends the whole lines that are in the buffer to a list; but none after the one with which they
// have more than `most` characters, if that is not negative. Returns how many characters they have.
PyObject* text_take_lines(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    if (count != 2 || !PyList_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "a list and a number are needed");
        return nullptr;
    }
    const auto most = PyLong_AsSsize_t(arguments[1]);
    if (most == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const ObjectLock lock(object);
    auto* self = cast(object);
    const auto start = self->position;
    while (self->text && (most < 0 || self->position - start <= most)) {
        const auto end = find_line_end(self->text.get(), static_cast<LineEnd>(self->line_end),
                                       self->position, PyUnicode_GET_LENGTH(self->text.get()));
        if (end < 0) {
            break;
        }
        const auto line = Ref::steal(take_to(self, end));
        if (!line || PyList_Append(arguments[0], line.get()) != 0) {
            return nullptr;
        }
    }
    return PyLong_FromSsize_t(self->position - start);
}

PyObject* text_ends_line(PyObject* object, PyObject* text) {
    if (!PyUnicode_Check(text)) {
        Py_RETURN_FALSE;
    }
    const auto length = PyUnicode_GET_LENGTH(text);
    const auto start = std::max(length - 2, Py_ssize_t{0});
    const auto end =
        find_line_end(text, static_cast<LineEnd>(cast(object)->line_end), start, length);
    return PyBool_FromLong(end == length ? 1 : 0);
}

PyObject* text_set_file(PyObject* object, PyObject* file) {
    auto* type = file != Py_None ? cast(object)->state->file_base_type : nullptr;
    if (type != nullptr && !PyObject_TypeCheck(file, type)) {
        PyErr_SetString(PyExc_TypeError, "a File is needed");
        return nullptr;
    }
    const ObjectLock lock(object);
    cast(object)->file = type != nullptr ? Ref::borrow(file) : Ref();
    Py_RETURN_NONE;
}

// --- memory

int text_traverse(PyObject* object, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(cast(object)->file.get());
    return 0;
}

int text_clear(PyObject* object) {
    cast(object)->file.reset();
    return 0;
}

void text_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    std::destroy_at(static_cast<TextBase*>(cast(object)));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyObject* text_new(PyTypeObject* type, PyObject* /*arguments*/, PyObject* /*keywords*/) {
    auto* base = type;
    while (base->tp_dealloc != text_dealloc) {
        base = base->tp_base;
    }
    PyObject* object = type->tp_alloc(type, 0);
    if (object != nullptr) {
        new (static_cast<TextBase*>(cast(object))) TextBase;
        cast(object)->state = &state_of(base);
    }
    return object;
}

PyMethodDef methods[] = {
    {"read", as_method(text_read), METH_FASTCALL, read_doc},
    {"readline", as_method(text_readline), METH_FASTCALL, readline_doc},
    {"write", text_write, METH_O, write_doc},
    {"_fill", text_fill, METH_O, nullptr},
    {"_get_text", text_get_text, METH_NOARGS, nullptr},
    {"_left", text_left, METH_NOARGS, nullptr},
    {"_take", text_take, METH_O, nullptr},
    {"_take_line", text_take_line, METH_O, nullptr},
    {"_take_lines", as_method(text_take_lines), METH_FASTCALL, nullptr},
    {"_ends_line", text_ends_line, METH_O, nullptr},
    {"_set_file", text_set_file, METH_O, nullptr},
    {},
};

constexpr Py_ssize_t place(std::size_t offset_in_fields) {
    return static_cast<Py_ssize_t>((sizeof(PyObject) + alignof(TextBase) - 1) / alignof(TextBase) *
                                       alignof(TextBase) +
                                   offset_in_fields);
}

PyMemberDef members[] = {
    {"_position", T_PYSSIZET, place(offsetof(TextBase, position)), 0, nullptr},
    {"_line_end", T_INT, place(offsetof(TextBase, line_end)), 0, nullptr},
    {"_encoding", T_INT, place(offsetof(TextBase, encoding)), 0, nullptr},
    {"_is_iterating", T_BOOL, place(offsetof(TextBase, is_iterating)), 0, nullptr},
    {"_translates", T_BOOL, place(offsetof(TextBase, translates)), 0, nullptr},
    {"_goes_slowly", T_BOOL, place(offsetof(TextBase, goes_slowly)), 0, nullptr},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_new, as_slot(text_new)},
    {Py_tp_dealloc, as_slot(text_dealloc)},
    {Py_tp_traverse, as_slot(text_traverse)},
    {Py_tp_clear, as_slot(text_clear)},
    {Py_am_aiter, as_slot(PyObject_SelfIter)},
    {Py_am_anext, as_slot(text_anext)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>("The part in C++ of linux_aio.TextFile.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._TextBase",
    .basicsize = sizeof(TextBaseObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

}  // namespace

PyTypeObject* add_text_base_type(PyObject* module) { return add_type(module, &spec); }

PyObject* read_text_at_once(PyObject* object, Py_ssize_t size) {
    auto* self = cast(object);
    if (size < 0 || !has_text(self) ||
        size > PyUnicode_GET_LENGTH(self->text.get()) - self->position) {
        return nullptr;
    }
    return take_to(self, self->position + size);
}

PyObject* read_text_line_at_once(PyObject* object, Py_ssize_t limit) {
    auto* self = cast(object);
    if (!has_text(self)) {
        return nullptr;
    }
    const auto length = PyUnicode_GET_LENGTH(self->text.get());
    const bool is_limited = limit >= 0 && limit <= length - self->position;
    const auto last = is_limited ? self->position + limit : length;
    const auto end =
        find_line_end(self->text.get(), static_cast<LineEnd>(self->line_end), self->position, last);
    if (end >= 0) {
        return take_to(self, end);
    }
    return is_limited ? take_to(self, last) : nullptr;
}

PyObject* write_text_at_once(PyObject* object, PyObject* text) {
    auto* self = cast(object);
    const auto encoding = static_cast<Encoding>(self->encoding);
    if (!PyUnicode_CheckExact(text) || self->text || !self->file || self->goes_slowly != 0 ||
        encoding == Encoding::other || (encoding == Encoding::ascii && !PyUnicode_IS_ASCII(text))) {
        return nullptr;
    }
    if (self->translates != 0 && find(text, '\n', 0, PyUnicode_GET_LENGTH(text)) >= 0) {
        return nullptr;
    }
    const ObjectLock lock(self->file.get());
    if (PyUnicode_IS_ASCII(text)) {
        const auto length = PyUnicode_GET_LENGTH(text);
        const auto* data = static_cast<const char*>(PyUnicode_DATA(text));
        return gather_at_once(file_of(self), data, length) ? PyLong_FromSsize_t(length) : nullptr;
    }
    const auto bytes = Ref::steal(PyUnicode_AsUTF8String(text));
    if (!bytes || !gather_at_once(file_of(self), PyBytes_AS_STRING(bytes.get()),
                                  PyBytes_GET_SIZE(bytes.get()))) {
        return nullptr;
    }
    return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

}  // namespace python
