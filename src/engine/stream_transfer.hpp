// SPDX-License-Identifier: Apache-2.0
// Transfers data of streams (pipes, sockets, terminals) in a thread that must not wait.
#pragma once

#include <sys/uio.h>

#include <cstdint>

#include "engine/request.hpp"

namespace engine {

// Transfers as many bytes as is possible without waiting. Returns their number, or a negative
// errno: -EAGAIN if the transfer would wait, -EOPNOTSUPP if the file can't be told not to wait.
std::int64_t try_stream_transfer(const OperationData& operation, int fd) noexcept;

// Whether the operation has to fail with EAGAIN rather than wait. The file's O_NONBLOCK does not
// count: it is for the program's own system calls.
inline bool never_waits(const OperationData& operation) noexcept {
    return (operation.rw_flags & RWF_NOWAIT) != 0;
}

// A stream has no offsets: 0 and the file's position mean the same, all others are ESPIPE.
inline bool has_stream_offset(const OperationData& operation) noexcept {
    return operation.at_position || operation.offset == 0;
}

// Whether a read of a stream only waits until there are bytes, and leaves them in the stream.
inline bool leaves_bytes(const OperationData& operation) noexcept {
    return is_read(operation.opcode) && operation.stream_read != StreamRead::by_anyone &&
           !never_waits(operation);
}

// Whether a read ends at once though the stream has no bytes: it asks for none, or fails, as of the
// end of a pipe that is for writing. Takes no bytes.
bool ends_without_bytes(const OperationData& read, int fd) noexcept;

// Called in the thread that wants the bytes: takes bytes that were kept (unread_bytes.hpp) or, if
// there are none, reads what can be read without waiting. Returns the same as
// try_stream_transfer().
std::int64_t take_from_stream(const OperationData& read, int fd) noexcept;

}  // namespace engine
