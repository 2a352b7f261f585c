// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <climits>
#include <cstdint>

#include "bulk/source_file.hpp"
#include "engine/operations/link_target.hpp"
#include "python/arguments.hpp"
#include "python/bulk_load.hpp"
#include "python/gil.hpp"
#include "python/piece_reader.hpp"
#include "python/range_groups.hpp"

namespace python {
namespace {

// Calls `question` with a file's number, without the GIL. Returns false with an exception set if
// `number` is no valid number.
template <class Answer>
bool ask(PyObject* number, Answer (*question)(int) noexcept, Answer& answer) {
    const auto fd = to_integer(number, "fd", 0, INT_MAX);
    if (fd) {
        const GilRelease release;
        answer = question(static_cast<int>(*fd));
    }
    return fd.has_value();
}

PyObject* bulk_size(PyObject* /*module*/, PyObject* fd) {
    std::uint64_t size = 0;
    return ask(fd, bulk::size_of_file, size) ? PyLong_FromUnsignedLongLong(size) : nullptr;
}

PyObject* bulk_gains(PyObject* /*module*/, PyObject* fd) {
    bool gains = false;
    return ask(fd, bulk::gains_by_direct, gains) ? PyBool_FromLong(gains ? 1 : 0) : nullptr;
}

PyObject* bulk_copies_itself(PyObject* /*module*/, PyObject* fd) {
    bool copies = false;
    return ask(fd, bulk::copies_by_itself, copies) ? PyBool_FromLong(copies ? 1 : 0) : nullptr;
}

PyObject* bulk_holds_locks(PyObject* /*module*/, PyObject* fd) {
    bool holds = false;
    return ask(fd, bulk::holds_record_locks, holds) ? PyBool_FromLong(holds ? 1 : 0) : nullptr;
}

PyObject* sync_folder(PyObject* /*module*/, PyObject* arguments) {
    int folder = -1;
    int file = -1;
    if (PyArg_ParseTuple(arguments, "ii", &folder, &file) == 0) {
        return nullptr;
    }
    int result = 0;
    {
        const GilRelease release;
        result = engine::sync_folder(folder, file);
    }
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"_bulk_load", bulk_load, METH_VARARGS, bulk_load_doc},
    {"_numpy_memory", numpy_memory, METH_VARARGS, numpy_memory_doc},
    {"_bulk_size", bulk_size, METH_O,
     "_bulk_size(fd, /)\n--\n\nReturn the size of a file or block device; 0 where none is known."},
    {"_bulk_gains", bulk_gains, METH_O,
     "_bulk_gains(fd, /)\n--\n\nReturn whether direct I/O on the file is likely to pay."},
    {"_bulk_copies_itself", bulk_copies_itself, METH_O,
     "_bulk_copies_itself(fd, /)\n--\n\nReturn whether the file system copies files by itself."},
    {"_bulk_holds_locks", bulk_holds_locks, METH_O,
     "_bulk_holds_locks(fd, /)\n--\n\nReturn whether this process may have record locks on the "
     "file."},
    {"_group_ranges", group_ranges, METH_VARARGS, group_ranges_doc},
    {"_sync_folder", sync_folder, METH_VARARGS,
     "_sync_folder(folder_fd, file_fd, /)\n--\n\nHave the names of a folder on the disk."},
    {},
};

}  // namespace

bool add_bulk_functions(PyObject* module) {
    return PyModule_AddFunctions(module, functions) == 0 && add_piece_reader_type(module);
}

}  // namespace python
