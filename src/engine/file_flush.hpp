// SPDX-License-Identifier: Apache-2.0
// Whether to close a copy of a descriptor does something that the program could notice.
//
// close(2) of any number calls the `flush` of the file, even if other numbers refer to the file:
// FUSE asks its server and waits, network file systems write back dirty data, and a message queue
// drops the registration of mq_notify(3). Files on local disks and in memory, pipes, sockets and
// the like have no `flush`.
#pragma once

#include <sys/stat.h>

#include <string>

namespace engine {

// The mounted file systems, as they were when this object was first asked.
class MountTable {
public:
    enum class Flush { none, of_writers, always };

    // Whether the file system of a regular file has a `flush`. If the file lies outside the
    // process's root, as the standard output of a chroot may, its mount is not listed: then another
    // mount of the same device tells. `always` if no mount tells. Never asks a server.
    Flush flush_of(int fd, const struct statx& status);

private:
    void read();

    bool is_read_ = false;
    std::string text_;
};

// Whether close(2) of the number may flush: true also if that is not known. Does not wait. False
// if the number is not open.
bool may_flush(int fd, MountTable& mounts) noexcept;

}  // namespace engine
