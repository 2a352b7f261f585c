// SPDX-License-Identifier: Apache-2.0
// Requests as plain system calls of the calling thread.
#pragma once

#include <cstdint>

#include "engine/request.hpp"

namespace engine {

// Carries out a read, write or sync with preadv2(2), pwritev2(2), fsync(2) or fdatasync(2) on this
// fd. Returns what the call did, or a negative errno.
//
// `is_stream`: the file has no offsets. `extra_flags` are RWF_* beside the operation's own. A call
// that is interrupted is made again; once `cancelled` is set, the result is -ECANCELED.
std::int64_t carry_out(const OperationData& operation, int fd, bool is_stream, int extra_flags,
                       const bool* cancelled = nullptr) noexcept;

// The same in a thread that has the operation's I/O priority for its time.
std::int64_t carry_out_with_priority(const OperationData& operation, int fd, bool is_stream,
                                     const bool* cancelled = nullptr) noexcept;

}  // namespace engine
