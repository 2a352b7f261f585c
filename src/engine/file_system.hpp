// SPDX-License-Identifier: Apache-2.0
// What is known of file systems by their number (f_type of fstatfs(2)).
#pragma once

#include <linux/magic.h>

#include <cstdint>

namespace engine {

// Those that not every <linux/magic.h> names.
inline constexpr std::uint32_t f2fs_magic = 0xf2f52010;
inline constexpr std::uint32_t fuse_magic = 0x65735546;
inline constexpr std::uint32_t xfs_magic = 0x58465342;

inline bool is_in_memory(std::uint32_t file_system) noexcept {
    return file_system == TMPFS_MAGIC || file_system == RAMFS_MAGIC ||
           file_system == HUGETLBFS_MAGIC;
}

// Those whose direct reads are known not to wait inside io_submit.
inline bool is_on_local_disk(std::uint32_t file_system) noexcept {
    return file_system == EXT4_SUPER_MAGIC || file_system == xfs_magic ||
           file_system == BTRFS_SUPER_MAGIC || file_system == f2fs_magic;
}

// Those that take direct I/O from and to any address, at any offset.
inline bool takes_any_alignment(std::uint32_t file_system) noexcept {
    return is_in_memory(file_system) || file_system == BTRFS_SUPER_MAGIC ||
           file_system == fuse_magic || file_system == NFS_SUPER_MAGIC;
}

}  // namespace engine
