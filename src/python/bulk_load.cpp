// SPDX-License-Identifier: Apache-2.0
#include "python/bulk_load.hpp"

#include <cerrno>
#include <cstdint>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "bulk/load.hpp"
#include "engine/alignment.hpp"
#include "python/buffer_view.hpp"
#include "python/bulk_callbacks.hpp"
#include "python/small_array.hpp"

namespace python {
namespace {

// One (offset, buffer) pair of the program.
struct Part {
    bulk::Segment segment;  // the first field: the loader returns its address
    BufferView view;
    Ref index;
    Part* next = nullptr;

    bool assign(PyObject* pair) {
        const auto fields = Ref::steal(PySequence_Tuple(pair));
        if (!fields) {
            return false;
        }
        if (PyTuple_GET_SIZE(fields.get()) != 2) {
            PyErr_Format(PyExc_ValueError,
                         "a segment must be a pair (offset, buffer), not %zd values",
                         PyTuple_GET_SIZE(fields.get()));
            return false;
        }
        const auto offset = Ref::steal(PyNumber_Index(PyTuple_GET_ITEM(fields.get(), 0)));
        if (!offset || !view.acquire(PyTuple_GET_ITEM(fields.get(), 1), PyBUF_WRITABLE)) {
            return false;
        }
        int overflow = 0;
        const long long value = PyLong_AsLongLongAndOverflow(offset.get(), &overflow);
        const auto room = INT64_MAX - static_cast<std::int64_t>(view.size());
        if (overflow != 0 || value < 0 || value > room) {
            PyErr_Format(PyExc_ValueError,
                         "the offset of a segment of %zu bytes must be from 0 to %lld, not %S",
                         view.size(), static_cast<long long>(room), offset.get());
            return false;
        }
        segment.offset = static_cast<std::uint64_t>(value);
        segment.address = static_cast<std::byte*>(view.data());
        segment.length = view.size();
        return true;
    }
};

// --- segments that are all there from the start

class ListSource final : public bulk::SegmentSource {
public:
    ListSource(std::span<Part> parts, PyObject* tick, LentGil& gil) noexcept
        : parts_(parts), tick_(tick), gil_(gil) {}

    bulk::Next next(bulk::Segment*& segment, bool /*may_wait*/) noexcept override {
        if (place_ == parts_.size()) {
            return bulk::Next::end;
        }
        segment = &parts_[place_++].segment;
        return bulk::Next::segment;
    }
    bool finished(bulk::Segment& /*segment*/) noexcept override { return true; }
    bool tick(std::uint64_t done) noexcept override {
        const LentGil::Taken taken(gil_);
        return run_tick(tick_, done);
    }

private:
    std::span<Part> parts_;
    PyObject* tick_;
    LentGil& gil_;
    std::size_t place_ = 0;
};

}  // namespace

bool set_load_options(bulk::File& file, bulk::LoadOptions& options, int mode, Py_ssize_t chunk,
                      unsigned depth, const char* engine) {
    options.direct = static_cast<bulk::DirectMode>(mode);
    options.chunk = static_cast<std::size_t>(chunk);
    options.depth = depth;
    options.engine = engine;
    if (file.can_be_direct()) {
        if (const int error = engine::find_alignment(file.direct_fd, file.alignment); error != 0) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return false;
        }
    }
    return true;
}

PyObject* load_answer(const bulk::LoadReport& report) {
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    if (report.forked) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a transfer can't go on in a child process of the one that began it");
        return nullptr;
    }
    if (report.error == ENOMEM) {
        return PyErr_NoMemory();
    }
    if (report.error != 0) {
        return Py_BuildValue("(iK)", report.error,
                             static_cast<unsigned long long>(report.error_offset));
    }
    auto end = report.met_end ? Ref::steal(PyLong_FromUnsignedLongLong(report.end_of_file))
                              : Ref::borrow(Py_None);
    if (!end) {
        return nullptr;
    }
    return Py_BuildValue("(KKKsnIN)", static_cast<unsigned long long>(report.loaded),
                         static_cast<unsigned long long>(report.direct),
                         static_cast<unsigned long long>(report.cached), report.engine,
                         static_cast<Py_ssize_t>(report.chunk), report.depth, end.release());
}

const char bulk_load_doc[] =
    "_bulk_load(buffered_fd, direct_fd, segments, direct, chunk, depth, engine, tick, /)\n--\n\n"
    "Read into the buffers of all (offset, buffer) pairs. Returns (nbytes, direct, cached, "
    "engine,\n"
    "chunk, depth, end), or (errno, offset) of a request that failed. `end` is None, or where the\n"
    "file ended before the end of a buffer.";

PyObject* bulk_load(PyObject* /*module*/, PyObject* arguments) {
    bulk::File file;
    bulk::LoadOptions options;
    PyObject* tick = nullptr;
    PyObject* given = nullptr;
    int mode = 0;
    Py_ssize_t chunk = 0;
    unsigned depth = 0;
    const char* engine = nullptr;
    if (PyArg_ParseTuple(arguments, "iiOinIsO", &file.buffered_fd, &file.direct_fd, &given, &mode,
                         &chunk, &depth, &engine, &tick) == 0 ||
        !set_load_options(file, options, mode, chunk, depth, engine)) {
        return nullptr;
    }
    const auto pairs = Ref::steal(PySequence_Tuple(given));
    if (!pairs) {
        return nullptr;
    }
    const auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(pairs.get()));
    SmallArray<Part, 4> parts(count);
    if (!parts.is_allocated()) {
        return nullptr;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (!parts[i].assign(PyTuple_GET_ITEM(pairs.get(), static_cast<Py_ssize_t>(i)))) {
            return nullptr;
        }
    }
    bulk::LoadReport report;
    {
        LentGil gil;
        ListSource source(parts.span(), tick, gil);
        report = bulk::load(file, options, source);
    }
    return load_answer(report);
}

}  // namespace python
