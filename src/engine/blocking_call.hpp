// SPDX-License-Identifier: Apache-2.0
// Carries out requests by plain system calls of the calling thread.
#pragma once

#include <cstdint>

#include "engine/request.hpp"

namespace engine {

// Carries out a read, write or sync with preadv2(2), pwritev2(2), fsync(2) or fdatasync(2) on `fd`.
// Returns the result of the system call, or a negative errno.
//
// `is_stream`: the file has no offsets. `extra_flags`: RWF_* in addition to the operation's own. An
// interrupted system call is made again, unless `cancelled` is set: then the result is -ECANCELED.
std::int64_t carry_out(const OperationData& operation, int fd, bool is_stream, int extra_flags,
                       const bool* cancelled = nullptr) noexcept;

// As carry_out(), but meanwhile the thread has the operation's I/O priority.
std::int64_t carry_out_with_priority(const OperationData& operation, int fd, bool is_stream,
                                     const bool* cancelled = nullptr) noexcept;

}  // namespace engine
