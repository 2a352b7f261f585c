// SPDX-License-Identifier: Apache-2.0
// The type of a file, as far as it matters to our threads. Where the kernel has statx(2), no
// function here waits.
#pragma once

#include <cstdint>

namespace engine {

// Whether the file is a stream: it has no offsets, and a read of it may wait for ever. Pipes,
// sockets, terminals and files of no type are streams; of devices, those that can't be sought in.
bool is_stream(int fd) noexcept;

// As above, for a file whose type (the bits of S_IFMT) is known.
bool is_stream(int fd, unsigned type) noexcept;

// Whether the kernel has no type for the file: inotify, timerfd, signalfd and the like.
bool has_no_type(int fd) noexcept;

// Whether the file is a signalfd(2). The result of a poll of one depends on the thread that polls:
// it tells of signals for the process, and for that thread.
bool is_signalfd(int fd) noexcept;

// How long it may take to close a file that is open nowhere else.
enum class Closing : std::uint8_t {
    at_once,
    on_disk,  // depends on the file system, which may ask a server or free the file's blocks
    waits,    // waits until all is sent: a terminal, or a socket with SO_LINGER
};

Closing closing_of(int fd) noexcept;

}  // namespace engine
