// SPDX-License-Identifier: Apache-2.0
// The memory that an operation reads into or writes from: the program's own buffers, which stay
// exported from submission to completion, or our own memory for a plain read.
#pragma once

#include <cstddef>

#include "engine/aligned_memory.hpp"
#include "python/buffer_vector.hpp"
#include "python/buffer_view.hpp"
#include "python/refs.hpp"

namespace python {

struct OperationMemory {
    // A buffer or a tuple of buffers that the program gave. For a read: the last result.
    Ref payload;

    // Whether the program can change the payload's memory. Noted while that is exported: later it
    // can't be told, because a memoryview that was released has lost what it was of.
    bool payload_is_mutable = false;

    BufferView view;      // of a readinto or write
    BufferVector vector;  // of a readv or writev

    // A read fills a bytes object, which then becomes the payload. A direct read can't, since the
    // data of a bytes object begin 32 bytes after an aligned address. It fills aligned memory,
    // which begins slightly before the offset that was asked for. When the program asks for the
    // result, a bytes object is made from that memory.
    Ref read_bytes;
    engine::AlignedMemory aligned;
    std::size_t lead = 0;          // bytes in `aligned` before those that were asked for
    bool reads_aligned = false;    // the current submission reads into `aligned`
    bool payload_aligned = false;  // the last result is still in `aligned`

    // Whether the program's memory is exported, so that it can't be resized.
    bool is_exported() const noexcept { return view.is_held() || vector.is_held(); }

    int traverse(visitproc visit, void* arg) const;
    void clear() noexcept;
};

// Releases the memory that only the kernel needed. May run Python code.
void release_memory(OperationMemory& memory) noexcept;

}  // namespace python
