// SPDX-License-Identifier: Apache-2.0
#include "python/eventfd.hpp"

#include <fcntl.h>
#include <structmember.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "python/arguments.hpp"
#include "python/gil.hpp"
#include "python/state.hpp"

namespace python {
namespace {

EventFDObject* cast(PyObject* self) { return static_cast<EventFDObject*>(self); }

constexpr std::array<const char*, 2> new_parameters{"initval", "flags"};
constexpr Signature new_signature{"EventFD", new_parameters, 0};

PyObject* eventfd_new(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
    std::array<PyObject*, new_parameters.size()> values{};
    if (!bind_arguments(new_signature, arguments, keywords, values)) {
        return nullptr;
    }
    std::int64_t initial = 0;
    std::int64_t flags = EFD_CLOEXEC;
    if (values[0] != nullptr) {
        const auto value = to_integer(values[0], "initval", 0, UINT32_MAX);
        if (!value) {
            return nullptr;
        }
        initial = *value;
    }
    if (values[1] != nullptr) {
        const auto value = to_integer(values[1], "flags", 0, INT32_MAX);
        if (!value) {
            return nullptr;
        }
        flags = *value;
    }
    auto object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return nullptr;
    }
    auto* self = cast(object.get());
    new (static_cast<EventFD*>(self)) EventFD;
    self->fd = engine::UniqueFd(eventfd(static_cast<unsigned>(initial), static_cast<int>(flags)));
    if (!self->fd.is_open()) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return object.release();
}

void eventfd_dealloc(PyObject* object) {
    auto* self = cast(object);
    if (self->weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    std::destroy_at(static_cast<EventFD*>(self));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

void raise_closed() { PyErr_SetString(PyExc_ValueError, "I/O operation on closed EventFD"); }

enum class Direction : std::uint8_t { read, write };

// Transfers 8 bytes if that can be done without waiting: an eventfd transfers all or nothing.
bool transfer_at_once(EventFDObject* eventfd, std::uint64_t& value, Direction direction) {
    const ObjectLock lock(
        eventfd);  // it is not closed, and its number not another file's, meanwhile
    const int fd = eventfd->fd.get();
    iovec vector{.iov_base = &value, .iov_len = sizeof value};
    const auto count = direction == Direction::read ? preadv2(fd, &vector, 1, -1, RWF_NOWAIT)
                                                    : pwritev2(fd, &vector, 1, -1, RWF_NOWAIT);
    return count == sizeof value;
}

// Returns a duplicate for a call without the GIL: another thread may close the number meanwhile,
// and open another file under it. On failure, the result is not open and an exception is set.
engine::UniqueFd duplicate(EventFDObject* eventfd) {
    const ObjectLock lock(eventfd);
    if (!eventfd->fd.is_open()) {
        raise_closed();
        return {};
    }
    engine::UniqueFd fd(fcntl(eventfd->fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!fd.is_open()) {
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return fd;
}

bool transfer_waiting(EventFDObject* eventfd, std::uint64_t& value, Direction direction) {
    for (;;) {
        const auto fd = duplicate(eventfd);  // a signal's handler may have closed it
        if (!fd.is_open()) {
            return false;
        }
        ssize_t count = 0;
        int error = 0;
        {
            const GilRelease release;
            count = direction == Direction::read ? ::read(fd.get(), &value, sizeof value)
                                                 : ::write(fd.get(), &value, sizeof value);
            error = errno;
        }
        if (count == sizeof value) {
            return true;
        }
        if (error != EINTR) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return false;
        }
        if (PyErr_CheckSignals() != 0) {
            return false;
        }
    }
}

// Keeps the GIL if the transfer need not wait, since taking the GIL back can take far longer than
// the transfer. If the kernel can't tell (or refuses the attempt), makes the plain call.
bool transfer(EventFDObject* eventfd, std::uint64_t& value, Direction direction) {
    return transfer_at_once(eventfd, value, direction) ||
           transfer_waiting(eventfd, value, direction);
}

PyDoc_STRVAR(read_doc,
             "read($self, /)\n--\n\n"
             "Return the counter and set it to 0 (or, with EFD_SEMAPHORE, 1 and count down).\n\n"
             "Waits, without the GIL, while the counter is 0; with EFD_NONBLOCK raises\n"
             "BlockingIOError instead. See eventfd(2).");

PyObject* eventfd_read(PyObject* object, PyObject* /*unused*/) {
    std::uint64_t value = 0;
    if (!transfer(cast(object), value, Direction::read)) {
        return nullptr;
    }
    return PyLong_FromUnsignedLongLong(value);
}

PyDoc_STRVAR(write_doc,
             "write($self, /, value=1)\n--\n\n"
             "Add value, from 0 to 2**64 - 2, to the counter.\n\n"
             "Waits, without the GIL, while that would take the counter beyond 2**64 - 2; with\n"
             "EFD_NONBLOCK raises BlockingIOError instead. See eventfd(2).");

PyObject* eventfd_write(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                        PyObject* keyword_names) {
    static constexpr std::array<const char*, 1> parameters{"value"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({"write", parameters, 0}, arguments, count, keyword_names, values)) {
        return nullptr;
    }
    std::uint64_t value = 1;
    if (values[0] != nullptr) {
        const auto integer = Ref::steal(PyNumber_Index(values[0]));
        if (!integer) {
            return nullptr;
        }
        value = PyLong_AsUnsignedLongLong(integer.get());
        if (value == UINT64_MAX) {  // too large for an eventfd, or the sign of an error
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "value must be from 0 to 2**64 - 2, not %S",
                         integer.get());
            return nullptr;
        }
    }
    if (!transfer(cast(object), value, Direction::write)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "Close the descriptor. Closing twice is harmless; any other use is a ValueError.\n\n"
    "Operations in flight that signal it are not disturbed: the kernel has a reference of\n"
    "its own.");

PyObject* eventfd_close(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    const engine::UniqueFd closed = std::move(cast(object)->fd);
    Py_RETURN_NONE;
}

PyObject* eventfd_enter(PyObject* object, PyObject* /*unused*/) {
    return fileno_of(cast(object)) < 0 ? nullptr : Py_NewRef(object);
}

PyObject* eventfd_exit(PyObject* object, PyObject* /*arguments*/) {
    return eventfd_close(object, nullptr);
}

PyObject* eventfd_get_fileno(PyObject* object, void* /*closure*/) {
    const int fd = fileno_of(cast(object));
    return fd < 0 ? nullptr : PyLong_FromLong(fd);
}

PyObject* eventfd_get_closed(PyObject* object, void* /*closure*/) {
    const ObjectLock lock(object);
    return PyBool_FromLong(cast(object)->fd.is_open() ? 0 : 1);
}

PyObject* eventfd_repr(PyObject* object) {
    const ObjectLock lock(object);
    const auto& fd = cast(object)->fd;
    return fd.is_open() ? PyUnicode_FromFormat("<linux_aio.EventFD fileno=%d>", fd.get())
                        : PyUnicode_FromString("<linux_aio.EventFD closed>");
}

PyMethodDef methods[] = {
    {"read", eventfd_read, METH_NOARGS, read_doc},
    {"write", as_method(eventfd_write), METH_FASTCALL | METH_KEYWORDS, write_doc},
    {"close", eventfd_close, METH_NOARGS, close_doc},
    {"__enter__", eventfd_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nReturn self."},
    {"__exit__", eventfd_exit, METH_VARARGS, "__exit__($self, /, *args)\n--\n\nClose."},
    {},
};

PyGetSetDef properties[] = {
    {"fileno", eventfd_get_fileno, nullptr, "The descriptor's number, for add_reader and the like.",
     nullptr},
    {"closed", eventfd_get_closed, nullptr, "Whether close() was called.", nullptr},
    {},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, weak_references_offset<EventFD>(), READONLY, nullptr},
    {},
};

PyDoc_STRVAR(
    type_doc,
    "EventFD(initval=0, flags=os.EFD_CLOEXEC)\n--\n\n"
    "An event counter in the kernel, to be told of completions by: eventfd(2).\n\n"
    "The kernel adds 1 when an operation that names it completes. Its fileno can be given\n"
    "to loop.add_reader, select and epoll. initval is the counter's first value, from 0 to\n"
    "2**32 - 1; flags are EFD_* of the os module. OSError if the kernel refuses.");

PyType_Slot slots[] = {
    {Py_tp_new, as_slot(eventfd_new)},
    {Py_tp_dealloc, as_slot(eventfd_dealloc)},
    {Py_tp_repr, as_slot(eventfd_repr)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>(type_doc)},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio.EventFD",
    .basicsize = sizeof(EventFDObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

}  // namespace

int fileno_of(EventFDObject* eventfd) {
    const ObjectLock lock(eventfd);
    if (!eventfd->fd.is_open()) {
        raise_closed();
        return -1;
    }
    return eventfd->fd.get();
}

PyTypeObject* add_eventfd_type(PyObject* module) { return add_type(module, &spec); }

}  // namespace python
