// SPDX-License-Identifier: Apache-2.0
// The status of an open file, as far as the kernel knows it by itself. No function here asks a
// server or waits for a disk: statx(2) is told not to sync, and the kind of file system is found by
// its mount.
#pragma once

#include <cstdint>

namespace engine {

enum class FileSystem : std::uint8_t {
    unknown,  // could not be found out
    memory,   // tmpfs, ramfs, hugetlbfs
    ext4,
    xfs,
    btrfs,
    f2fs,
    overlay,
    fuse,
    nfs,
    proc,
    other,  // any other one: it may have a server
};

// Whether the file system is on a disk of this machine and is the kernel's own.
constexpr bool is_local_disk(FileSystem file_system) noexcept {
    return file_system == FileSystem::ext4 || file_system == FileSystem::xfs ||
           file_system == FileSystem::btrfs || file_system == FileSystem::f2fs;
}

// Whether direct I/O on this file system may use any address and any offset.
constexpr bool takes_any_alignment(FileSystem file_system) noexcept {
    return file_system == FileSystem::memory || file_system == FileSystem::btrfs ||
           file_system == FileSystem::fuse || file_system == FileSystem::nfs;
}

struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    bool operator==(const FileIdentity&) const = default;
};

struct FileStatus {
    int error = 0;      // an errno; if it isn't 0, nothing else is known
    unsigned type = 0;  // in the bits of S_IFMT
    FileIdentity identity;
    std::uint64_t size = 0;
    std::uint32_t owner = 0;
    std::uint64_t mount = 0;  // an identifier that no other mount ever gets; 0: not known

    // The alignment of direct I/O, in bytes. 0: the kernel makes direct I/O on this file through
    // its cache.
    bool knows_alignment = false;
    std::uint32_t memory_alignment = 0;
    std::uint32_t transfer_alignment = 0;
};

FileStatus status_of(int fd) noexcept;

// The file system that a regular file or a folder is on.
FileSystem file_system_of(const FileStatus& status) noexcept;

// Whether the kernel may have to ask a server for the file, which may not answer.
bool may_have_server(int fd, const FileStatus& status) noexcept;

// The file system on a device. For mapped memory, of whose file only the device is known.
FileSystem file_system_of_device(std::uint64_t device) noexcept;

}  // namespace engine
