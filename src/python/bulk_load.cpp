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

// What both functions are given besides the segments.
struct Job {
    bulk::File file;
    bulk::LoadOptions options;
    PyObject* tick = nullptr;
};

bool set_options(Job& job, int mode, Py_ssize_t chunk, unsigned depth, const char* engine) {
    job.options.direct = static_cast<bulk::DirectMode>(mode);
    job.options.chunk = static_cast<std::size_t>(chunk);
    job.options.depth = depth;
    job.options.engine = engine;
    if (job.file.can_be_direct()) {
        if (const int error = engine::find_alignment(job.file.direct_fd, job.file.alignment);
            error != 0) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return false;
        }
    }
    return true;
}

// One of the program's (offset, buffer) pairs.
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

// --- segments that Python makes one by one, and hears of when they are complete

class FeedSource final : public bulk::SegmentSource {
public:
    FeedSource(PyObject* feed, PyObject* done, PyObject* tick, LentGil& gil) noexcept
        : feed_(feed), done_(done), tick_(tick), gil_(gil) {}
    FeedSource(const FeedSource&) = delete;
    FeedSource& operator=(const FeedSource&) = delete;
    // With the GIL: what is left after an error.
    ~FeedSource() override {
        while (first_ != nullptr) {
            remove(first_);
        }
    }

    bulk::Next next(bulk::Segment*& segment, bool may_wait) noexcept override {
        const LentGil::Taken taken(gil_);
        const auto answer = Ref::steal(PyObject_CallOneArg(feed_, may_wait ? Py_True : Py_False));
        if (!answer) {
            return bulk::Next::stop;
        }
        if (answer.get() == Py_None) {
            return bulk::Next::later;
        }
        if (answer.get() == Py_False) {
            return bulk::Next::end;
        }
        auto* const part = new (std::nothrow) Part;
        if (part == nullptr) {
            PyErr_NoMemory();
            return bulk::Next::stop;
        }
        part->next = first_;
        first_ = part;
        if (!part->assign(answer.get())) {
            return bulk::Next::stop;
        }
        part->index = Ref::steal(PyLong_FromSize_t(count_++));
        if (!part->index) {
            return bulk::Next::stop;
        }
        segment = &part->segment;
        return bulk::Next::segment;
    }

    bool finished(bulk::Segment& segment) noexcept override {
        const LentGil::Taken taken(gil_);
        if (PyErr_Occurred() != nullptr) {
            return false;
        }
        auto* const part = reinterpret_cast<Part*>(&segment);
        const auto index = std::move(part->index);
        const auto loaded = segment.loaded;
        remove(part);  // the buffer is the program's again when it hears of it
        const auto count = Ref::steal(PyLong_FromSize_t(loaded));
        return count &&
               Ref::steal(PyObject_CallFunctionObjArgs(done_, index.get(), count.get(), nullptr));
    }

    bool tick(std::uint64_t done) noexcept override {
        const LentGil::Taken taken(gil_);
        return run_tick(tick_, done);
    }

private:
    void remove(Part* part) noexcept {
        auto** place = &first_;
        while (*place != part) {
            place = &(*place)->next;
        }
        *place = part->next;
        delete part;
    }

    PyObject* feed_;
    PyObject* done_;
    PyObject* tick_;
    LentGil& gil_;
    Part* first_ = nullptr;
    std::size_t count_ = 0;
};

// --- results

PyObject* answer(const bulk::LoadReport& report) {
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
    return Py_BuildValue("(KKKsnIO)", static_cast<unsigned long long>(report.loaded),
                         static_cast<unsigned long long>(report.direct),
                         static_cast<unsigned long long>(report.cached), report.engine,
                         static_cast<Py_ssize_t>(report.chunk), report.depth,
                         report.met_end ? Py_True : Py_False);
}

}  // namespace

const char bulk_load_doc[] =
    "_bulk_load(buffered_fd, direct_fd, segments, direct, chunk, depth, engine, tick, /)\n--\n\n"
    "Read into the buffers of all (offset, buffer) pairs. Returns (nbytes, direct, cached, "
    "engine,\n"
    "chunk, depth, met_end), or (errno, offset) of a request that failed.";

PyObject* bulk_load(PyObject* /*module*/, PyObject* arguments) {
    Job job;
    PyObject* given = nullptr;
    int mode = 0;
    Py_ssize_t chunk = 0;
    unsigned depth = 0;
    const char* engine = nullptr;
    if (PyArg_ParseTuple(arguments, "iiOinIsO", &job.file.buffered_fd, &job.file.direct_fd, &given,
                         &mode, &chunk, &depth, &engine, &job.tick) == 0 ||
        !set_options(job, mode, chunk, depth, engine)) {
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
        ListSource source(parts.span(), job.tick, gil);
        report = bulk::load(job.file, job.options, source);
    }
    return answer(report);
}

const char bulk_stream_doc[] =
    "_bulk_stream(buffered_fd, direct_fd, feed, done, direct, chunk, depth, engine, tick, "
    "/)\n--\n\n"
    "As _bulk_load, with pairs that feed(may_wait) returns one by one: None if there is none for\n"
    "now, False when there are no more. done(index, nbytes) is called when one is complete, which\n"
    "may be in another order.";

PyObject* bulk_stream(PyObject* /*module*/, PyObject* arguments) {
    Job job;
    PyObject* feed = nullptr;
    PyObject* done = nullptr;
    int mode = 0;
    Py_ssize_t chunk = 0;
    unsigned depth = 0;
    const char* engine = nullptr;
    if (PyArg_ParseTuple(arguments, "iiOOinIsO", &job.file.buffered_fd, &job.file.direct_fd, &feed,
                         &done, &mode, &chunk, &depth, &engine, &job.tick) == 0 ||
        !set_options(job, mode, chunk, depth, engine)) {
        return nullptr;
    }
    bulk::LoadReport report;
    {
        // destroyed after the GIL is back
        alignas(FeedSource) std::byte storage[sizeof(FeedSource)];
        FeedSource* source = nullptr;
        {
            LentGil gil;
            source = new (storage) FeedSource(feed, done, job.tick, gil);
            report = bulk::load(job.file, job.options, *source);
        }
        source->~FeedSource();
    }
    return answer(report);
}

}  // namespace python
