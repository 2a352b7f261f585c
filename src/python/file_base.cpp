// SPDX-License-Identifier: Apache-2.0
#include "python/file_base.hpp"

#include <structmember.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <utility>

#include "engine/program_threads.hpp"
#include "python/awaitable.hpp"
#include "python/context.hpp"
#include "python/exceptions.hpp"
#include "python/file_call.hpp"
#include "python/gil.hpp"
#include "python/operation_factories.hpp"

namespace python {
namespace {

FileBaseObject* cast(PyObject* self) { return static_cast<FileBaseObject*>(self); }

// --- what is done at once

// Whether calls may do without the subclass, which would have more to do or an error to raise.
bool may_be_quick(const FileBase* self) noexcept {
    return self->is_open != 0 && self->is_locked == 0 && self->goes_slowly == 0 &&
           !self->fork_guard.is_inherited();
}

bool may_read(const FileBase* self) noexcept {
    return may_be_quick(self) && self->is_readable != 0 && self->writing.size() == 0 &&
           self->is_behind == 0;
}

// Whether the write in flight is over. Reaps, which may run code that replaces the request.
bool is_request_over(const FileBase* self) noexcept {
    const auto request = Ref::borrow(self->request.get());
    return request && is_over(request.get());
}

bool may_write(const FileBase* self) noexcept {
    return may_be_quick(self) && self->is_writable != 0 && self->reading.size() == 0 &&
           (self->is_behind == 0 || (self->request && !is_request_over(self)));
}

bool takes_work(const ContextObject* context) noexcept {
    return context->is_open() && !context->is_inherited();
}

bool has_room(const FileBase* self, Py_ssize_t count) noexcept {
    return count <= self->limit - self->writing.size();
}

// How many bytes read(size) asks for if the buffer is empty. What is left of a file is asked for
// with one byte more, so that the answer shows whether the file ends there.
Py_ssize_t first_request(const FileBase* self, Py_ssize_t size) noexcept {
    constexpr long long most = 0x7ffff000;  // the kernel's limit on one request
    long long asked = std::max(size, self->chunk);
    if (size < 0) {
        const auto left = self->file_size - self->offset;
        asked = left > 0 ? std::min(left, most) + 1 : self->chunk;
    }
    return static_cast<Py_ssize_t>(std::min(asked, most));
}

// --- calls

constexpr FileMethod read_method{.name = "File.read",
                                 .slow = "_read_slow",
                                 .begin = ReadRequest::begin,
                                 .end = ReadRequest::end,
                                 .release = release_lock,
                                 .rest = "_read_rest",
                                 .read_at_once = read_at_once};
constexpr FileMethod close_method{.name = "File.close",
                                  .slow = "_close_slow",
                                  .begin = CloseRequest::begin,
                                  .end = CloseRequest::end,
                                  .release = release_lock,
                                  .has_argument = false};
constexpr FileMethod readline_method{
    .name = "File.readline", .slow = "_readline_slow", .read_at_once = read_line_at_once};
constexpr FileMethod next_method{.name = "File.__anext__",
                                 .slow = "_readline_slow",
                                 .read_at_once = read_line_at_once,
                                 .is_next = true};
constexpr FileMethod write_method{
    .name = "File.write", .slow = "_write_slow", .write_at_once = write_at_once};

PyDoc_STRVAR(
    read_doc,
    "read($self, size=-1, /)\n--\n\n"
    "Read up to size bytes, or all that is left if size is negative or None: see preadv2(2).\n\n"
    "The result is shorter only at the end of the file, where it is b\"\", or with buffering=0.");

PyObject* file_read(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    Py_ssize_t size = -1;
    if (!parse_size("read", arguments, count, size)) {
        return nullptr;
    }
    return make_file_call(*cast(object)->state, read_method, object, size, nullptr);
}

PyDoc_STRVAR(readline_doc, "readline($self, size=-1, /)\n--\n\n"
                           "Read a line with its end, or its first size bytes.\n\n"
                           "The result is b\"\" at the end of the file. A line that is in the "
                           "buffer costs no system call.");

PyObject* file_readline(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    Py_ssize_t size = -1;
    if (!parse_size("readline", arguments, count, size)) {
        return nullptr;
    }
    return make_file_call(*cast(object)->state, readline_method, object, size, nullptr);
}

PyObject* file_anext(PyObject* object) {
    return make_file_call(*cast(object)->state, next_method, object, -1, nullptr);
}

PyDoc_STRVAR(
    write_doc,
    "write($self, data, /)\n--\n\n"
    "Write data, a bytes-like object, and return how many bytes it has: see pwritev2(2).\n\n"
    "The bytes are gathered, and written while the program goes on, unless they are more than the\n"
    "buffer takes. An error of that is raised by the next write(), flush() or close().");

PyObject* file_write(PyObject* object, PyObject* data) {
    return make_file_call(*cast(object)->state, write_method, object, 0, data);
}

PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "Write what was gathered, and close the file: see close(2). Again is harmless.\n\n"
    "OSError if something could not be written; the file is closed all the same. A cancelled call\n"
    "raises at once, and the rest is done in the background.");

PyObject* file_close(PyObject* object, PyObject* /*unused*/) {
    return make_file_call(*cast(object)->state, close_method, object, 0, nullptr);
}

// --- for the subclass

// Raises a ValueError that says what to do if the file holds bytes that it has not written yet, or
// has read ahead.
// For a standard stream in a child process, whose it is as much as the parent's.
PyObject* file_take_over(PyObject* file, PyObject* /*unused*/) {
    cast(file)->fork_guard = {};
    Py_RETURN_NONE;
}

PyObject* file_check_holds_nothing(PyObject* file, PyObject* /*unused*/) {
    Py_ssize_t read_ahead = 0;
    bool is_unwritten = false;
    {
        const ObjectLock lock(file);
        const auto* self = cast(file);
        is_unwritten = self->is_behind != 0 || self->writing.size() != 0;
        read_ahead = self->reading.size();
    }
    if (is_unwritten) {
        PyErr_SetString(PyExc_ValueError,
                        "fd is a File that holds bytes which it has not written yet: await flush() "
                        "first, or open the file with buffering=0");
    } else if (read_ahead != 0) {
        PyErr_Format(PyExc_ValueError,
                     "fd is a File that holds %zd bytes which it has read ahead: open the file "
                     "with buffering=0, or give its fileno()",
                     read_ahead);
    }
    if (is_unwritten || read_ahead != 0) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* file_try_acquire(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    const bool is_free = cast(object)->is_locked == 0;
    cast(object)->is_locked = 1;
    return PyBool_FromLong(is_free ? 1 : 0);
}

PyObject* file_buffered(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    return PyLong_FromSsize_t(cast(object)->reading.size());
}

PyObject* file_take(PyObject* object, PyObject* argument) {
    const auto count = PyLong_AsSsize_t(argument);
    if (count == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const ObjectLock lock(object);
    auto& reading = cast(object)->reading;
    return reading.take(count < 0 ? reading.size() : std::min(count, reading.size()));
}

PyObject* file_take_line(PyObject* object, PyObject* argument) {
    const auto limit = PyLong_AsSsize_t(argument);
    if (limit == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const ObjectLock lock(object);
    auto& reading = cast(object)->reading;
    const auto length = reading.find_line(limit);
    if (length != 0) {
        return reading.take(length);
    }
    return reading.take(limit < 0 ? reading.size() : std::min(limit, reading.size()));
}

PyObject* file_peek(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    const auto& reading = cast(object)->reading;
    return PyBytes_FromStringAndSize(reading.size() != 0 ? reading.data() : nullptr,
                                     reading.size());
}

PyObject* file_skip(PyObject* object, PyObject* argument) {
    const auto count = PyLong_AsSsize_t(argument);
    if (count == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const ObjectLock lock(object);
    cast(object)->reading.skip(std::clamp(count, Py_ssize_t{0}, cast(object)->reading.size()));
    Py_RETURN_NONE;
}

PyObject* file_fill(PyObject* object, PyObject* bytes) {
    if (!PyBytes_CheckExact(bytes)) {
        PyErr_SetString(PyExc_TypeError, "bytes are needed");
        return nullptr;
    }
    const ObjectLock lock(object);
    cast(object)->reading.assign(Ref::borrow(bytes));
    Py_RETURN_NONE;
}

PyObject* file_gather(PyObject* object, PyObject* bytes) {
    if (!PyBytes_CheckExact(bytes)) {
        PyErr_SetString(PyExc_TypeError, "bytes are needed");
        return nullptr;
    }
    const ObjectLock lock(object);
    auto* self = cast(object);
    if (!self->writing.add_object(bytes)) {
        return nullptr;
    }
    self->offset += PyBytes_GET_SIZE(bytes);
    Py_RETURN_NONE;
}

PyObject* file_gathered(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    return PyLong_FromSsize_t(cast(object)->writing.size());
}

PyObject* file_take_gathered(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    return cast(object)->writing.take();
}

PyObject* file_set_request(PyObject* object, PyObject* request) {
    auto* self = cast(object);
    if (request != Py_None && !Py_IS_TYPE(request, self->state->awaitable_type)) {
        PyErr_SetString(PyExc_TypeError, "an awaitable of AIOContext's is needed");
        return nullptr;
    }
    const ObjectLock lock(object);
    self->request = request != Py_None ? Ref::borrow(request) : Ref();
    Py_RETURN_NONE;
}

PyObject* file_set_reader(PyObject* object, PyObject* context) {
    auto* self = cast(object);
    const ObjectLock lock(object);
    const bool is_known = Py_IS_TYPE(context, self->state->context_type);
    self->reader = is_known ? Ref::borrow(context) : Ref();
    Py_RETURN_NONE;
}

// --- memory

int file_traverse(PyObject* object, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(cast(object)->request.get());
    Py_VISIT(cast(object)->reader.get());
    return cast(object)->writing.traverse(visit, arg);
}

int file_clear(PyObject* object) {
    cast(object)->writing.clear();
    cast(object)->request.reset();
    cast(object)->reader.reset();
    return 0;
}

void file_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    std::destroy_at(static_cast<FileBase*>(cast(object)));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

// Finds our base type among the bases of `type`, because only our type knows the module's state.
PyObject* file_new(PyTypeObject* type, PyObject* /*arguments*/, PyObject* /*keywords*/) {
    auto* base = type;
    while (base->tp_dealloc != file_dealloc) {
        base = base->tp_base;
    }
    PyObject* object = type->tp_alloc(type, 0);
    if (object != nullptr) {
        new (static_cast<FileBase*>(cast(object))) FileBase;
        cast(object)->state = &state_of(base);
    }
    return object;
}

PyMethodDef methods[] = {
    {"read", as_method(file_read), METH_FASTCALL, read_doc},
    {"readline", as_method(file_readline), METH_FASTCALL, readline_doc},
    {"write", file_write, METH_O, write_doc},
    {"close", file_close, METH_NOARGS, close_doc},
    {"_take_over", file_take_over, METH_NOARGS, nullptr},
    {"_check_holds_nothing", file_check_holds_nothing, METH_NOARGS, nullptr},
    {"_try_acquire", file_try_acquire, METH_NOARGS, nullptr},
    {"_buffered", file_buffered, METH_NOARGS, nullptr},
    {"_take", file_take, METH_O, nullptr},
    {"_take_line", file_take_line, METH_O, nullptr},
    {"_peek", file_peek, METH_NOARGS, nullptr},
    {"_skip", file_skip, METH_O, nullptr},
    {"_fill", file_fill, METH_O, nullptr},
    {"_gather", file_gather, METH_O, nullptr},
    {"_gathered", file_gathered, METH_NOARGS, nullptr},
    {"_take_gathered", file_take_gathered, METH_NOARGS, nullptr},
    {"_set_request", file_set_request, METH_O, nullptr},
    {"_set_reader", file_set_reader, METH_O, nullptr},
    {},
};

constexpr Py_ssize_t place(std::size_t offset_in_fields) {
    return static_cast<Py_ssize_t>((sizeof(PyObject) + alignof(FileBase) - 1) / alignof(FileBase) *
                                       alignof(FileBase) +
                                   offset_in_fields);
}

PyMemberDef members[] = {
    {"_offset", T_LONGLONG, place(offsetof(FileBase, offset)), 0, nullptr},
    {"_size", T_LONGLONG, place(offsetof(FileBase, file_size)), 0, nullptr},
    {"_fd", T_INT, place(offsetof(FileBase, fd)), 0, nullptr},
    {"_beside", T_INT, place(offsetof(FileBase, beside)), 0, nullptr},
    {"_closes_fd", T_BOOL, place(offsetof(FileBase, closes_fd)), 0, nullptr},
    {"_data_fd", T_INT, place(offsetof(FileBase, data_fd)), 0, nullptr},
    {"_chunk", T_PYSSIZET, place(offsetof(FileBase, chunk)), 0, nullptr},
    {"_limit", T_PYSSIZET, place(offsetof(FileBase, limit)), 0, nullptr},
    {"_is_open", T_BOOL, place(offsetof(FileBase, is_open)), 0, nullptr},
    {"_is_readable", T_BOOL, place(offsetof(FileBase, is_readable)), 0, nullptr},
    {"_is_writable", T_BOOL, place(offsetof(FileBase, is_writable)), 0, nullptr},
    {"_is_locked", T_BOOL, place(offsetof(FileBase, is_locked)), 0, nullptr},
    {"_is_behind", T_BOOL, place(offsetof(FileBase, is_behind)), 0, nullptr},
    {"_releases_slowly", T_BOOL, place(offsetof(FileBase, releases_slowly)), 0, nullptr},
    {"_goes_slowly", T_BOOL, place(offsetof(FileBase, goes_slowly)), 0, nullptr},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_new, as_slot(file_new)},
    {Py_tp_dealloc, as_slot(file_dealloc)},
    {Py_tp_traverse, as_slot(file_traverse)},
    {Py_tp_clear, as_slot(file_clear)},
    {Py_am_aiter, as_slot(PyObject_SelfIter)},
    {Py_am_anext, as_slot(file_anext)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>("The part in C++ of linux_aio.File.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._FileBase",
    .basicsize = sizeof(FileBaseObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

}  // namespace

bool parse_size(const char* method, PyObject* const* arguments, Py_ssize_t count,
                Py_ssize_t& size) {
    if (count > 1) {
        PyErr_Format(PyExc_TypeError, "%s expected at most 1 argument, got %zd", method, count);
        return false;
    }
    if (count == 0 || arguments[0] == Py_None) {
        return true;
    }
    const auto index = Ref::steal(PyNumber_Index(arguments[0]));
    if (!index) {
        if (PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
            PyErr_Format(PyExc_TypeError, "argument should be integer or None, not '%.200s'",
                         Py_TYPE(arguments[0])->tp_name);
        }
        return false;
    }
    size = PyLong_AsSsize_t(index.get());
    return size != -1 || PyErr_Occurred() == nullptr;
}

PyTypeObject* add_file_base_type(PyObject* module) { return add_type(module, &spec); }

PyObject* read_at_once(PyObject* file, Py_ssize_t size) {
    auto* self = cast(file);
    if (size < 0 || !may_read(self) || size > self->reading.size()) {
        return nullptr;
    }
    return self->reading.take(size);
}

Ref ReadRequest::begin(PyObject* file, Py_ssize_t size, bool& has_lock) {
    auto* self = cast(file);
    std::array<Ref, 3> numbers;
    Ref context;
    {
        const ObjectLock lock(file);
        if (!self->reader || !may_read(self) || self->reading.size() != 0) {
            return {};
        }
        self->is_locked = 1;
        has_lock = true;
        context = Ref::borrow(self->reader.get());
        numbers = {Ref::steal(PyLong_FromSsize_t(first_request(self, size))),
                   Ref::steal(PyLong_FromLong(self->data_fd)),
                   Ref::steal(PyLong_FromLongLong(self->offset))};
    }
    if (!std::ranges::all_of(numbers, &Ref::operator bool)) {
        return {};
    }
    const std::array arguments{numbers[0].get(), numbers[1].get(), numbers[2].get()};
    auto* type = reinterpret_cast<PyObject*>(self->state->operation_type);
    const auto operation =
        Ref::steal(make_read(type, arguments.data(), std::ssize(arguments), nullptr));
    return operation ? Ref::steal(make_awaitable(static_cast<ContextObject*>(context.get()),
                                                 static_cast<OperationObject*>(operation.get()),
                                                 true, "AIOContext.read"))
                     : Ref();
}

PyObject* ReadRequest::end(PyObject* file, Py_ssize_t size, PyObject* bytes) {
    const ObjectLock lock(file);
    auto* self = cast(file);
    const auto asked = first_request(self, size);
    const auto count = PyBytes_GET_SIZE(bytes);
    self->offset += count;
    // Fewer bytes than asked for do not show that a file ends whose size may lie, as in /proc.
    const bool is_at_end =
        count == 0 || (count < asked && self->file_size != 0 && self->offset == self->file_size);
    if (size < 0 ? is_at_end : count == size || (is_at_end && count < size)) {
        return Py_NewRef(bytes);
    }
    self->reading.assign(Ref::borrow(bytes));
    return size >= 0 && count > size ? self->reading.take(size) : nullptr;
}

Ref CloseRequest::begin(PyObject* file, Py_ssize_t /*unused*/, bool& has_lock) {
    auto* self = cast(file);
    Ref context;
    int fd = -1;
    {
        const ObjectLock lock(file);
        if (self->is_open == 0 || self->is_locked != 0 || self->is_writable != 0 || !self->reader ||
            self->closes_fd == 0 || self->beside != 0 ||
            !takes_work(static_cast<ContextObject*>(self->reader.get()))) {
            return {};
        }
        self->is_locked = 1;
        self->is_open = 0;
        has_lock = true;
        self->reading.clear();
        self->data_fd = -1;
        fd = std::exchange(self->fd, -1);
        context = std::move(self->reader);
    }
    auto request = Ref::steal(PyObject_CallMethod(context.get(), "_close", "i", fd));
    if (!request) {
        engine::close_soon(fd);
    }
    return request;
}

PyObject* CloseRequest::end(PyObject* /*file*/, Py_ssize_t /*unused*/, PyObject* none) {
    return Py_NewRef(none);
}

bool release_lock(PyObject* file) {
    {
        const ObjectLock lock(file);
        if (cast(file)->releases_slowly == 0) {
            cast(file)->is_locked = 0;
            return true;
        }
    }
    // A signal that came during the request would be handled at the beginning of _release(), whose
    // work would then not be done.
    auto interruption = PyErr_CheckSignals() != 0 ? take_exception() : Ref();
    const auto done = Ref::steal(PyObject_CallMethod(file, "_release", nullptr));
    if (done && interruption) {
        raise(std::move(interruption));
        return false;
    }
    return static_cast<bool>(done);
}

PyObject* read_line_at_once(PyObject* file, Py_ssize_t limit) {
    auto* self = cast(file);
    if (!may_read(self) || self->reading.size() == 0) {
        return nullptr;
    }
    const auto length = self->reading.find_line(limit);
    if (length != 0) {
        return self->reading.take(length);
    }
    return limit >= 0 && limit <= self->reading.size() ? self->reading.take(limit) : nullptr;
}

PyObject* write_at_once(PyObject* file, PyObject* data) {
    auto* self = cast(file);
    if (!PyBytes_CheckExact(data) || !may_write(self)) {
        return nullptr;
    }
    const auto count = PyBytes_GET_SIZE(data);
    if (!has_room(self, count) || !self->writing.add_object(data)) {
        return nullptr;
    }
    self->offset += count;
    return PyLong_FromSsize_t(count);
}

bool may_read_text(const FileBase* file) noexcept { return may_read(file); }

bool gather_at_once(FileBase* file, const char* data, Py_ssize_t count) {
    if (!may_write(file) || !has_room(file, count) || !file->writing.add(data, count)) {
        return false;
    }
    file->offset += count;
    return true;
}

}  // namespace python
