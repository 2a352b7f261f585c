// SPDX-License-Identifier: Apache-2.0
// The memory of ours that a plain read fills: a bytes object, or aligned memory for direct I/O.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/alignment.hpp"
#include "python/operation.hpp"

namespace python {

// Remembers the alignment that direct I/O on the last file needs, so that several operations in a
// row on one file ask the kernel once. Used only while no other code runs.
class LastAlignment {
public:
    // Returns 0, or an errno.
    int find(int fd, engine::Alignment& alignment) noexcept;

private:
    int fd_ = -1;
    engine::Alignment alignment_;
};

// Allocates the memory of a read that was planned: aligned memory if the file is open for direct
// I/O, else a bytes object. Returns false with an exception set.
bool prepare_read_memory(Operation& operation, LastAlignment& alignments);

// For a read of a stream, in the step of its task: reads the bytes that the stream has, as
// engine::take_from_stream() does. Returns no value with an exception set.
std::optional<std::int64_t> take_from_stream(Operation& operation);

// Takes over the bytes of a completed read. `result` is what the kernel returned, 0 or more.
// Returns how many of the bytes that were asked for were read.
std::int64_t accept_read(Operation& operation, std::int64_t result) noexcept;

// Returns the bytes of the last read: a new reference, or null with MemoryError.
PyObject* read_result(Operation& operation);

}  // namespace python
