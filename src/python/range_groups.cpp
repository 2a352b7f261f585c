// SPDX-License-Identifier: Apache-2.0
#include "python/range_groups.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

#include "bulk/range_groups.hpp"
#include "python/buffer_view.hpp"
#include "python/gil.hpp"

namespace python {
namespace {

// A new bytes object that is filled as an array of `Element`.
template <class Element>
class NewArray {
public:
    explicit NewArray(std::size_t count)
        : bytes_(Ref::steal(PyBytes_FromStringAndSize(
              nullptr, static_cast<Py_ssize_t>(count * sizeof(Element))))),
          count_(count) {}

    bool is_made() const noexcept { return static_cast<bool>(bytes_); }

    std::span<Element> elements() const noexcept {
        return {reinterpret_cast<Element*>(PyBytes_AS_STRING(bytes_.get())), count_};
    }

    // Cuts the array to its first elements. Returns null with an exception set.
    PyObject* release(std::size_t count) {
        auto* bytes = bytes_.release();
        _PyBytes_Resize(&bytes, static_cast<Py_ssize_t>(count * sizeof(Element)));
        return bytes;
    }

private:
    Ref bytes_;
    std::size_t count_;
};

template <class Element>
std::span<const Element> elements_of(const BufferView& buffer) noexcept {
    return {static_cast<const Element*>(buffer.data()), buffer.size() / sizeof(Element)};
}

// Whether the windows, one after the other, have all ranges.
bool are_ends_of(std::span<const std::int64_t> ends, std::size_t count) noexcept {
    std::int64_t last = 0;
    for (const auto end : ends) {
        if (end < last) {
            return false;
        }
        last = end;
    }
    return static_cast<std::uint64_t>(last) == count;
}

}  // namespace

const char group_ranges_doc[] =
    "_group_ranges(ranges, ends, first_window, max_gap, max_merge, /)\n--\n\n"
    "Return (order, groups, pieces) for read_many, as bytes: see _core.pyi.";

PyObject* group_ranges(PyObject* /*module*/, PyObject* arguments) {
    PyObject* ranges_object = nullptr;
    PyObject* ends_object = nullptr;
    unsigned long long first_window = 0;
    long long max_gap = 0;
    long long max_merge = 0;
    if (PyArg_ParseTuple(arguments, "OOKLL", &ranges_object, &ends_object, &first_window, &max_gap,
                         &max_merge) == 0) {
        return nullptr;
    }
    BufferView ranges_buffer;
    BufferView ends_buffer;
    if (!ranges_buffer.acquire(ranges_object, PyBUF_SIMPLE) ||
        !ends_buffer.acquire(ends_object, PyBUF_SIMPLE)) {
        return nullptr;
    }
    if (ranges_buffer.size() % sizeof(bulk::WantedRange) != 0 ||
        ends_buffer.size() % sizeof(std::int64_t) != 0) {
        PyErr_SetString(PyExc_ValueError, "ranges or ends of a wrong size");
        return nullptr;
    }
    const auto ranges = elements_of<bulk::WantedRange>(ranges_buffer);
    const auto ends = elements_of<std::int64_t>(ends_buffer);
    if (ranges.size() > PY_SSIZE_T_MAX / sizeof(bulk::RangeGroup)) {
        return PyErr_NoMemory();
    }
    if (!are_ends_of(ends, ranges.size())) {
        PyErr_SetString(PyExc_ValueError, "the windows don't have all ranges");
        return nullptr;
    }
    NewArray<std::int64_t> order(ranges.size());
    NewArray<bulk::RangeGroup> groups(ranges.size());
    NewArray<bulk::Range> pieces(ranges.size());
    if (!order.is_made() || !groups.is_made() || !pieces.is_made()) {
        return nullptr;
    }
    const bulk::GroupMemory memory{
        .order = order.elements(), .groups = groups.elements(), .pieces = pieces.elements()};
    std::size_t count = 0;
    {
        const GilRelease release;
        count = bulk::group_ranges(ranges, ends, first_window,
                                   {.max_gap = max_gap, .max_merge = max_merge}, memory);
    }
    const auto cut_order = Ref::steal(order.release(ranges.size()));
    const auto cut_groups = Ref::steal(groups.release(count));
    const auto cut_pieces = Ref::steal(pieces.release(count));
    if (!cut_order || !cut_groups || !cut_pieces) {
        return nullptr;
    }
    return PyTuple_Pack(3, cut_order.get(), cut_groups.get(), cut_pieces.get());
}

}  // namespace python
