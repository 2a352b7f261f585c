// SPDX-License-Identifier: Apache-2.0
// The type of a file, as far as it matters to our threads. Where the kernel has statx(2), no
// function here waits.
#pragma once

#include <cstddef>

#include <cstdint>

namespace engine {

// Whether the file is a stream: it has no offsets, and a read of it may wait for ever. Pipes,
// sockets, terminals and files of no type are streams; of devices, those that can't be sought in.
bool is_stream(int fd) noexcept;

// As above, for a file whose type (the bits of S_IFMT) is known.
bool is_stream(int fd, unsigned type) noexcept;

// Whether the step of the task that awaits a read carries it out, after poll(2): it then does not
// wait if nobody else reads. So for files of which no bytes can be kept for another read, since
// many have one inode: inotify, timerfd, signalfd and the like, which have no type, and the
// controlling sides of pseudo-terminals.
bool is_read_in_step(int fd) noexcept;

// Whether a file of that type and with that device number is the controlling side of a
// pseudo-terminal. All of these share one inode.
bool is_terminal_master(unsigned type, unsigned major, unsigned minor) noexcept;

// Whether the file is a signalfd(2). The result of a poll of one depends on the thread that polls:
// it tells of signals for the process, and for that thread.
bool is_signalfd(int fd) noexcept;

// How many bytes a read has to ask for at least, or is refused with EINVAL: 8 of an eventfd or a
// timerfd, 128 of a signalfd. 0 for all other files.
std::size_t least_read(int fd) noexcept;

// How long it may take to close a file that is open nowhere else.
enum class Closing : std::uint8_t {
    at_once,
    on_disk,  // depends on the file system, which may ask a server or free the file's blocks
    waits,    // waits until all is sent: a terminal, or a socket with SO_LINGER
};

Closing closing_of(int fd) noexcept;

}  // namespace engine
