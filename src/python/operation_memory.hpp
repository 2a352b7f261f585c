// SPDX-License-Identifier: Apache-2.0
// The memory that an operation reads into or writes from: the program's own buffers, which stay
// exported from submission to completion, or for a plain read memory of ours.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "engine/aligned_memory.hpp"
#include "engine/alignment.hpp"
#include "python/buffer_view.hpp"
#include "python/refs.hpp"

namespace python {

struct Operation;

// The buffers of a readv or writev, and the array of iovec that the kernel gets.
class BufferVector {
public:
    BufferVector() = default;
    BufferVector(const BufferVector&) = delete;
    BufferVector& operator=(const BufferVector&) = delete;
    ~BufferVector();

    // Exports the buffers of the tuple. False with an exception set.
    bool acquire(PyObject* buffers, int flags);

    // May run Python code, which may put another vector in the place of this one. The parts stay,
    // for messages.
    void release() noexcept;

    bool is_held() const noexcept { return views_ != nullptr && count_ != 0; }
    std::span<iovec> parts() const noexcept { return {parts_, count_}; }
    std::size_t total() const noexcept { return total_; }
    std::size_t count() const noexcept { return count_; }
    int traverse(visitproc visit, void* arg) const;

    friend void swap(BufferVector& left, BufferVector& right) noexcept {
        std::swap(left.views_, right.views_);
        std::swap(left.parts_, right.parts_);
        std::swap(left.count_, right.count_);
        std::swap(left.total_, right.total_);
    }

private:
    static void destroy(BufferView* views, std::size_t count) noexcept;

    BufferView* views_ = nullptr;
    iovec* parts_ = nullptr;
    std::size_t count_ = 0;
    std::size_t total_ = 0;  // bytes
};

struct OperationMemory {
    // What the program gave: a buffer, or a tuple of buffers. For a read what it returned last.
    Ref payload;

    BufferView view;      // of a readinto or write
    BufferVector vector;  // of a readv or writev

    // A read lands in a bytes object, which becomes the payload. Direct I/O can't: the bytes of an
    // object are 32 bytes behind an aligned address. It lands in aligned memory, from a bit before
    // the offset that was asked for, and is copied into the bytes when somebody looks at them.
    Ref landing;
    engine::AlignedMemory aligned;
    std::size_t lead = 0;          // bytes in `aligned` before those that were asked for
    bool lands_aligned = false;    // the submission at hand
    bool payload_aligned = false;  // the last result is still in `aligned`

    // Whether the program's memory is exported: it can't be resized.
    bool is_exported() const noexcept { return view.is_held() || vector.is_held(); }

    int traverse(visitproc visit, void* arg) const;
    void clear() noexcept;
};

// Takes the program's buffer, or for readv and writev its sequence of buffers. False with an
// exception set, and nothing changed.
bool set_payload(Operation& operation, PyObject* given);

// Whether the program could change the memory that it gave, or see it change.
bool has_mutable_payload(const Operation& operation) noexcept;

// Has the program's memory exported for a submission. May run Python code. False with an exception
// set.
bool prepare_payload(Operation& operation);

// What direct I/O on files needs, asked once for those that follow each other, while no other code
// runs.
class LastAlignment {
public:
    // 0, or an errno.
    int find(int fd, engine::Alignment& alignment) noexcept;

private:
    int fd_ = -1;
    engine::Alignment alignment_;
};

// Gives a read that was planned memory to land in: aligned memory if the file is open for direct
// I/O, else a bytes object. False with an exception set.
bool prepare_landing(Operation& operation, LastAlignment& alignments);

// For a read of a stream in the step of its task: takes what there is, as
// engine::take_from_stream(). None with an exception set.
std::optional<std::int64_t> take_from_stream(Operation& operation);

// A read has landed. `result` is what the kernel returned, 0 or more; returns how many bytes of
// what was asked for there are.
std::int64_t land(Operation& operation, std::int64_t result) noexcept;

// Gives back what only the kernel needed. May run Python code.
void release_memory(OperationMemory& memory) noexcept;

// The bytes of the last read: a new reference, or null with MemoryError.
PyObject* read_result(Operation& operation);

}  // namespace python
