// SPDX-License-Identifier: Apache-2.0
#include "python/piece_reader.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "bulk/piece_reader.hpp"
#include "python/arguments.hpp"
#include "python/buffer_view.hpp"
#include "python/bulk_load.hpp"
#include "python/direct_io.hpp"
#include "python/gil.hpp"

namespace python {
namespace {

struct Reader {
    BufferView ranges;
    BufferView pool;
    std::optional<bulk::PieceReader> reader;  // before the buffers that it uses are released
};
struct ReaderObject : PyObject, Reader {};

ReaderObject* cast(PyObject* self) { return static_cast<ReaderObject*>(self); }

PyObject* reader_new(PyTypeObject* type, PyObject* arguments, PyObject* /*keywords*/) {
    PyObject* ranges = nullptr;
    PyObject* pool = nullptr;
    Py_ssize_t unit = 0;
    unsigned long long memory = 0;
    if (PyArg_ParseTuple(arguments, "OOnK", &ranges, &pool, &unit, &memory) == 0) {
        return nullptr;
    }
    auto object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return nullptr;
    }
    auto* self = new (static_cast<Reader*>(cast(object.get()))) Reader;
    if (!self->ranges.acquire(ranges, PyBUF_SIMPLE) ||
        (pool != Py_None && !self->pool.acquire(pool, PyBUF_WRITABLE))) {
        return nullptr;
    }
    if (self->ranges.size() % sizeof(bulk::Range) != 0 || unit < 0 ||
        (pool != Py_None && (unit == 0 || self->pool.size() < static_cast<std::size_t>(unit)))) {
        PyErr_SetString(PyExc_ValueError, "ranges, pool or unit of a wrong size");
        return nullptr;
    }
    std::span<std::byte> places;
    if (self->pool.is_held()) {
        places = std::span(static_cast<std::byte*>(self->pool.data()), self->pool.size());
    }
    self->reader.emplace(std::span(static_cast<const bulk::Range*>(self->ranges.data()),
                                   self->ranges.size() / sizeof(bulk::Range)),
                         places, static_cast<std::size_t>(unit), memory);
    return object.release();
}

void reader_dealloc(PyObject* object) {
    std::destroy_at(static_cast<Reader*>(cast(object)));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyObject* reader_run(PyObject* object, PyObject* arguments) {
    bulk::File file;
    int mode = 0;
    Py_ssize_t chunk = 0;
    unsigned depth = 0;
    const char* engine = nullptr;
    int wake_fd = -1;
    bulk::LoadOptions options;
    if (PyArg_ParseTuple(arguments, "iiinIsi", &file.buffered_fd, &file.direct_fd, &mode, &chunk,
                         &depth, &engine, &wake_fd) == 0 ||
        !set_load_options(file, options, mode, chunk, depth, engine)) {
        return nullptr;
    }
    bulk::LoadReport report;
    {
        const GilRelease release;
        report = cast(object)->reader->run(file, options, wake_fd);
    }
    return load_answer(report);
}

PyObject* piece_tuple(ModuleState& state, bulk::Piece& piece) {
    auto place = piece.memory.data() != nullptr
                     ? Ref::steal(wrap_aligned_memory(state, std::move(piece.memory)))
                     : Ref::steal(PyLong_FromSize_t(piece.place));
    return place ? Py_BuildValue("(nKNn)", static_cast<Py_ssize_t>(piece.index),
                                 static_cast<unsigned long long>(piece.segment.offset),
                                 place.release(), static_cast<Py_ssize_t>(piece.segment.loaded))
                 : nullptr;
}

PyObject* reader_take(PyObject* object, PyObject* /*unused*/) {
    auto& state = *static_cast<ModuleState*>(PyType_GetModuleState(Py_TYPE(object)));
    auto list = Ref::steal(PyList_New(0));
    auto* next = cast(object)->reader->take();
    while (next != nullptr) {
        const std::unique_ptr<bulk::Piece> piece(std::exchange(next, next->next));
        const auto item = list ? Ref::steal(piece_tuple(state, *piece)) : Ref();
        if (!item || PyList_Append(list.get(), item.get()) != 0) {
            list.reset();  // the others are dropped
        }
    }
    return list.release();
}

PyObject* reader_wait(PyObject* object, PyObject* milliseconds) {
    const auto time = to_integer(milliseconds, "milliseconds", 0, 1000);
    if (!time) {
        return nullptr;
    }
    {
        const GilRelease release;
        cast(object)->reader->wait(std::chrono::milliseconds(*time));
    }
    Py_RETURN_NONE;
}

PyObject* reader_give_back(PyObject* object, PyObject* number) {
    const auto value = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    cast(object)->reader->give_back(value);
    Py_RETURN_NONE;
}

PyObject* reader_set_window(PyObject* object, PyObject* number) {
    const auto value = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    cast(object)->reader->set_window(value);
    Py_RETURN_NONE;
}

PyObject* reader_stop(PyObject* object, PyObject* /*unused*/) {
    cast(object)->reader->stop();
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"run", reader_run, METH_VARARGS,
     "run($self, buffered_fd, direct_fd, direct, chunk, depth, engine, wake_fd, /)\n--\n\n"
     "Read all pieces, without the GIL; once. Signals the eventfd wake_fd, unless it is -1.\n"
     "Returns what _bulk_load returns."},
    {"take", reader_take, METH_NOARGS,
     "take($self, /)\n--\n\nReturn the pieces that have arrived since: (index, offset, place of "
     "the\npool or memory, nbytes)."},
    {"wait", reader_wait, METH_O,
     "wait($self, milliseconds, /)\n--\n\nWait, without the GIL, for a piece to arrive."},
    {"give_back", reader_give_back, METH_O,
     "give_back($self, number, /)\n--\n\nMake a place of the pool, or that many bytes, free."},
    {"set_window", reader_set_window, METH_O,
     "set_window($self, window, /)\n--\n\nRead ranges up to this window whatever memory they "
     "take."},
    {"stop", reader_stop, METH_NOARGS, "stop($self, /)\n--\n\nEnd run() soon."},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_new, as_slot(reader_new)},
    {Py_tp_dealloc, as_slot(reader_dealloc)},
    {Py_tp_methods, methods},
    {Py_tp_doc, const_cast<char*>("_PieceReader(ranges, pool, unit, memory, /)\n--\n\n"
                                  "Reads parts of a file in one thread for another. `ranges` has "
                                  "three numbers of 64 bits\nfor each: offset, length, window.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._PieceReader",
    .basicsize = sizeof(ReaderObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

}  // namespace

bool add_piece_reader_type(PyObject* module) {
    const auto type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
    return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace python
