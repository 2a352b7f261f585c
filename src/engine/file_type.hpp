// SPDX-License-Identifier: Apache-2.0
// What a file is, as far as it matters to threads of ours. To find out does not wait, where the
// kernel has statx(2).
#pragma once

#include <cstdint>

namespace engine {

// Whether the file has no offsets, and may keep who reads it waiting for ever: a pipe, a socket, a
// terminal. Some devices do have offsets.
bool is_stream(int fd) noexcept;

// The same of a file whose type, in the bits of S_IFMT, is known.
bool is_stream(int fd, unsigned type) noexcept;

// Whether the kernel has no type for it: inotify, timerfd, signalfd and the like.
bool has_no_type(int fd) noexcept;

// Whether it is a signalfd(2). What a poll of one sees depends on the thread that asks: signals of
// the process, and of that thread.
bool is_signalfd(int fd) noexcept;

// What closing may take, if nobody else has the file open.
enum class Closing : std::uint8_t {
    at_once,
    on_disk,  // the file system's to tell: it may ask a server, or free the blocks
    waits,    // a terminal, or a socket with SO_LINGER: until all is sent
};

Closing closing_of(int fd) noexcept;

}  // namespace engine
