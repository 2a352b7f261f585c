// SPDX-License-Identifier: Apache-2.0
// The memory that an operation reads into or writes from: the program's own buffers, which stay
// exported from submission to completion, or for a plain read memory of ours.
#pragma once

#include <cstddef>

#include "engine/aligned_memory.hpp"
#include "python/buffer_vector.hpp"
#include "python/buffer_view.hpp"
#include "python/refs.hpp"

namespace python {

struct OperationMemory {
    // What the program gave: a buffer, or a tuple of buffers. For a read what it returned last.
    Ref payload;

    BufferView view;      // of a readinto or write
    BufferVector vector;  // of a readv or writev

    // A read fills a bytes object, which then becomes the payload. A direct read can't: the bytes
    // of an object are 32 bytes behind an aligned address. It fills aligned memory, from a bit
    // before the offset that was asked for. The bytes object is made from that when the result is
    // asked for.
    Ref read_bytes;
    engine::AlignedMemory aligned;
    std::size_t lead = 0;          // bytes in `aligned` before those that were asked for
    bool reads_aligned = false;    // the submission at hand
    bool payload_aligned = false;  // the last result is still in `aligned`

    // Whether the program's memory is exported: it can't be resized.
    bool is_exported() const noexcept { return view.is_held() || vector.is_held(); }

    int traverse(visitproc visit, void* arg) const;
    void clear() noexcept;
};

// Gives back what only the kernel needed. May run Python code.
void release_memory(OperationMemory& memory) noexcept;

}  // namespace python
