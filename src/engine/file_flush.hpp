// SPDX-License-Identifier: Apache-2.0
// Whether closing a copy of a descriptor does something that the program could see.
//
// close(2) of any number calls the file's flush, also if others refer to it: FUSE asks its server
// and waits, network file systems write back what is dirty, and a message queue drops the
// registration of mq_notify(3). Files of local disks, of memory, pipes, sockets and the like have
// no flush.
#pragma once

#include <sys/stat.h>

#include <string>

namespace engine {

// The file systems that are mounted, as they were when this was made, or rather first asked.
class MountTable {
public:
    enum class Flush { none, of_writers, always };

    // Of a regular file. A file may lie outside the process's root, as the standard output of a
    // chroot does, and its mount is not listed then: another mount of its device tells the type.
    // `always` where nothing does. Never asks a server.
    Flush flush_of(const struct statx& status);

private:
    void read();

    bool is_read_ = false;
    std::string text_;
};

// May be wrong on the side of caution. Does not wait. False for a number that is not open.
bool may_flush(int fd, MountTable& mounts) noexcept;

}  // namespace engine
