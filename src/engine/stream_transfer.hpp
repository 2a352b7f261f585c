// SPDX-License-Identifier: Apache-2.0
// Transfers of streams (pipes, sockets, terminals) in a thread that must not wait.
#pragma once

#include <sys/uio.h>

#include <cstdint>

#include "engine/request.hpp"

namespace engine {

// Transfers what can be transferred at once. Returns the number of bytes or a negative errno:
// -EAGAIN if the transfer would wait, -EOPNOTSUPP if the file can't be asked not to wait.
std::int64_t try_stream_transfer(const OperationData& operation, int fd) noexcept;

// Whether the operation is to fail with EAGAIN rather than wait. O_NONBLOCK of the file is not
// asked: it is there for the program's own calls.
inline bool never_waits(const OperationData& operation) noexcept {
    return (operation.rw_flags & RWF_NOWAIT) != 0;
}

// A stream has no offsets: 0 and the file's position mean the same, all others are ESPIPE.
inline bool has_stream_offset(const OperationData& operation) noexcept {
    return operation.at_position || operation.offset == 0;
}

// Whether a read of a stream waits until there is something, and leaves it there.
inline bool leaves_bytes(const OperationData& operation) noexcept {
    return is_read(operation.opcode) && operation.stream_read != StreamRead::by_anyone &&
           !never_waits(operation);
}

// For the thread that wants the bytes: what was kept for it, or what can be read at once. As
// try_stream_transfer().
std::int64_t take_from_stream(const OperationData& read, int fd) noexcept;

}  // namespace engine
