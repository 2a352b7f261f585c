// SPDX-License-Identifier: Apache-2.0
#include "python/operation_factories.hpp"

#include <array>
#include <climits>
#include <cstdint>

#include "python/arguments.hpp"
#include "python/payload.hpp"

namespace python {
namespace {

// Returns a new operation of that kind on the file, or null with an exception set.
OperationObject* make(PyObject* cls, OperationKind kind, engine::Opcode opcode, PyObject* fd) {
    auto* type = reinterpret_cast<PyTypeObject*>(cls);
    auto* operation = state_of(type).free_operations.allocate(type);
    if (operation == nullptr) {
        return nullptr;
    }
    PyObject_GC_Track(operation);
    operation->kind = kind;
    operation->request.opcode = opcode;
    if (!operation->file.assign(state_of(type), fd, kind != OperationKind::poll)) {
        Py_DECREF(operation);
        return nullptr;
    }
    return operation;
}

// Sets the arguments that reads and writes have in common, from the third on.
bool set_transfer_arguments(OperationObject* operation, PyObject* offset, PyObject* priority,
                            PyObject* flags) {
    auto& request = operation->request;
    request.at_position = offset == Py_None;
    if (offset != nullptr && !request.at_position) {
        const auto value = to_integer(offset, "offset", 0, INT64_MAX);
        if (!value) {
            return false;
        }
        operation->offset = static_cast<std::uint64_t>(*value);
    }
    if (priority != nullptr) {
        const auto value = to_integer(priority, "priority", 0, UINT16_MAX);
        if (!value) {
            return false;
        }
        request.priority = static_cast<std::uint16_t>(*value);
    }
    if (flags != nullptr) {
        const auto value = to_integer(flags, "flags", 0, INT_MAX);
        if (!value) {
            return false;
        }
        request.rw_flags = static_cast<int>(*value);
    }
    return true;
}

// Whether the object may be meant as the file of an operation.
bool names_file(PyObject* object) {
    return PyLong_Check(object) || PyObject_HasAttrString(object, "fileno") == 1;
}

// False with a TypeError if the first two arguments are the wrong way round.
bool check_order(const Signature& signature, std::span<PyObject* const> values, bool is_swapped) {
    if (is_swapped) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes %s first and then %s, not the other way round: %s is %.100s, and "
                     "%s is %.100s",
                     signature.function, signature.parameters[0], signature.parameters[1],
                     signature.parameters[0], Py_TYPE(values[0])->tp_name, signature.parameters[1],
                     Py_TYPE(values[1])->tp_name);
    }
    return !is_swapped;
}

struct What {
    PyObject* type;
    OperationKind kind;
    engine::Opcode opcode;
};

// Makes a read into, or a write of, the program's memory, which is the first argument.
PyObject* make_transfer(const What& what, const Signature& signature, PyObject* const* arguments,
                        Py_ssize_t count, PyObject* names) {
    std::array<PyObject*, 5> values{};
    if (!bind_arguments(signature, arguments, count, names, values) ||
        !check_order(signature, values,
                     !PyObject_CheckBuffer(values[0]) && names_file(values[0]) &&
                         PyObject_CheckBuffer(values[1]))) {
        return nullptr;
    }
    auto* operation = make(what.type, what.kind, what.opcode, values[1]);
    auto owner = Ref::steal(operation);
    if (operation == nullptr ||
        !set_transfer_arguments(operation, values[2], values[3], values[4]) ||
        !set_payload(*operation, values[0])) {
        return nullptr;
    }
    return owner.release();
}

PyObject* make_sync(const What& what, const char* function, PyObject* const* arguments,
                    Py_ssize_t count, PyObject* names) {
    static constexpr std::array<const char*, 1> parameters{"fd"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({function, parameters, 1}, arguments, count, names, values)) {
        return nullptr;
    }
    return make(what.type, what.kind, what.opcode, values[0]);
}

}  // namespace

const char make_read_doc[] =
    "read($type, /, nbytes, fd, offset=0, priority=0, flags=0)\n--\n\n"
    "Read up to nbytes bytes, from 0 to 0x7ffff000, from byte offset of the file.\n\n"
    "The result is a bytes object as long as what was read: shorter than nbytes where the\n"
    "kernel read less, b'' at the end of the file. With O_DIRECT any nbytes and offset will do:\n"
    "the aligned range around them is read. With offset None it reads at the position of the\n"
    "open file, which moves on; a stream has none: any offset but 0 is ESPIPE there. priority\n"
    "is what ioprio() returns (0: that of the thread; see ioprio_set(2)), flags are RWF_* of the\n"
    "os module or of linux_aio. ValueError beyond these limits, and for a closed file. See\n"
    "preadv2(2).";

PyObject* make_read(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
    static constexpr std::array<const char*, 5> parameters{"nbytes", "fd", "offset", "priority",
                                                           "flags"};
    std::array<PyObject*, parameters.size()> values{};
    const Signature signature{"read", parameters, 2};
    if (!bind_arguments(signature, arguments, count, names, values) ||
        !check_order(
            signature, values,
            !PyIndex_Check(values[0]) && PyIndex_Check(values[1]) && names_file(values[0]))) {
        return nullptr;
    }
    const auto nbytes = to_integer(values[0], "nbytes", 0, max_transfer);
    if (!nbytes) {
        return nullptr;
    }
    auto* operation = make(type, OperationKind::read, engine::Opcode::read, values[1]);
    auto owner = Ref::steal(operation);
    if (operation == nullptr ||
        !set_transfer_arguments(operation, values[2], values[3], values[4])) {
        return nullptr;
    }
    operation->nbytes = static_cast<std::size_t>(*nbytes);
    return owner.release();
}

const char make_readinto_doc[] =
    "readinto($type, /, buffer, fd, offset=0, priority=0, flags=0)\n--\n\n"
    "Read from byte offset of the file into buffer, any writable contiguous buffer, as many\n"
    "bytes as it has.\n\n"
    "The result is how many bytes were read, which may be fewer; 0 at the end of the file.\n"
    "Nothing is copied. The buffer can't be resized until the operation completes.\n"
    "BufferError for a buffer that is read-only or not contiguous; the rest as in read. See\n"
    "preadv2(2).";

PyObject* make_readinto(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                        PyObject* names) {
    static constexpr std::array<const char*, 5> parameters{"buffer", "fd", "offset", "priority",
                                                           "flags"};
    return make_transfer({type, OperationKind::readinto, engine::Opcode::read},
                         {"readinto", parameters, 2}, arguments, count, names);
}

const char make_readv_doc[] =
    "readv($type, /, buffers, fd, offset=0, priority=0, flags=0)\n--\n\n"
    "Read from byte offset of the file into a sequence of writable contiguous buffers, filling\n"
    "each before the next.\n\n"
    "At most IOV_MAX (1024) buffers. The result is how many bytes were read, which may be\n"
    "fewer than they have; the rest as in readinto. See preadv2(2).";

PyObject* make_readv(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                     PyObject* names) {
    static constexpr std::array<const char*, 5> parameters{"buffers", "fd", "offset", "priority",
                                                           "flags"};
    return make_transfer({type, OperationKind::readv, engine::Opcode::readv},
                         {"readv", parameters, 2}, arguments, count, names);
}

const char make_write_doc[] =
    "write($type, /, payload, fd, offset=0, priority=0, flags=0)\n--\n\n"
    "Write the bytes of payload, any contiguous buffer, to the file from byte offset on.\n\n"
    "The result is how many bytes were written, which may be fewer. The buffer is used as it\n"
    "is, without a copy, and must not change while the operation is in flight. priority is an\n"
    "ioprio value (0: that of the thread; ioprio_set(2)), flags are RWF_* of the os module. See\n"
    "pwritev2(2).";

PyObject* make_write(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                     PyObject* names) {
    static constexpr std::array<const char*, 5> parameters{"payload", "fd", "offset", "priority",
                                                           "flags"};
    return make_transfer({type, OperationKind::write, engine::Opcode::write},
                         {"write", parameters, 2}, arguments, count, names);
}

const char make_writev_doc[] =
    "writev($type, /, buffers, fd, offset=0, priority=0, flags=0)\n--\n\n"
    "Write a sequence of contiguous buffers, one after the other, to the file from byte offset\n"
    "on.\n\n"
    "At most IOV_MAX (1024) buffers; the rest as in write. See pwritev2(2).";

PyObject* make_writev(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                      PyObject* names) {
    static constexpr std::array<const char*, 5> parameters{"buffers", "fd", "offset", "priority",
                                                           "flags"};
    return make_transfer({type, OperationKind::writev, engine::Opcode::writev},
                         {"writev", parameters, 2}, arguments, count, names);
}

const char make_fsync_doc[] =
    "fsync($type, /, fd)\n--\n\n"
    "Have all that was written to the file before, and its metadata, put on the disk.\n\n"
    "Covers writes that have completed, not those still in flight. The result is None. See\n"
    "fsync(2).";

PyObject* make_fsync(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                     PyObject* names) {
    return make_sync({type, OperationKind::fsync, engine::Opcode::fsync}, "fsync", arguments, count,
                     names);
}

const char make_fdsync_doc[] =
    "fdsync($type, /, fd)\n--\n\n"
    "Have all that was written to the file before put on the disk, with as much of the\n"
    "metadata as it takes to read it again.\n\n"
    "Covers writes that have completed, not those still in flight. The result is None. See\n"
    "fdatasync(2).";

PyObject* make_fdsync(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                      PyObject* names) {
    return make_sync({type, OperationKind::fdsync, engine::Opcode::fdsync}, "fdsync", arguments,
                     count, names);
}

const char make_poll_doc[] =
    "poll($type, /, fd, events)\n--\n\n"
    "Wait until one of the events (select.POLL*, a mask) is there on the file.\n\n"
    "Completes once; the result is the mask of the events that are there. See poll(2).";

PyObject* make_poll(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
    static constexpr std::array<const char*, 2> parameters{"fd", "events"};
    std::array<PyObject*, parameters.size()> values{};
    const Signature signature{"poll", parameters, 2};
    if (!bind_arguments(signature, arguments, count, names, values) ||
        !check_order(
            signature, values,
            !PyIndex_Check(values[1]) && PyIndex_Check(values[0]) && names_file(values[1]))) {
        return nullptr;
    }
    const auto events = to_integer(values[1], "events", 0, UINT16_MAX);
    if (!events) {
        return nullptr;
    }
    auto* operation = make(type, OperationKind::poll, engine::Opcode::poll, values[0]);
    if (operation != nullptr) {
        operation->request.poll_events = static_cast<std::uint16_t>(*events);
    }
    return operation;
}

}  // namespace python
