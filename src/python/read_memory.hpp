// SPDX-License-Identifier: Apache-2.0
// The memory of ours that a plain read fills: a bytes object, or for direct I/O aligned memory.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/alignment.hpp"
#include "python/operation.hpp"

namespace python {

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

// Gives a read that was planned its memory: aligned memory if the file is open for direct
// I/O, else a bytes object. False with an exception set.
bool prepare_read_memory(Operation& operation, LastAlignment& alignments);

// For a read of a stream in the step of its task: takes what there is, as
// engine::take_from_stream(). None with an exception set.
std::optional<std::int64_t> take_from_stream(Operation& operation);

// Takes over what a read has brought. `result` is what the kernel returned, 0 or more; returns how
// many bytes of what was asked for there are.
std::int64_t accept_read(Operation& operation, std::int64_t result) noexcept;

// The bytes of the last read: a new reference, or null with MemoryError.
PyObject* read_result(Operation& operation);

}  // namespace python
