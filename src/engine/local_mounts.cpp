// SPDX-License-Identifier: Apache-2.0
#include "engine/local_mounts.hpp"

#include <linux/magic.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>

#include "engine/clofork_fd.hpp"

namespace engine {
namespace {

// When a file system without a disk is unmounted, another one may get its device number, and
// another mount may get its mount number. Only the unique number of a mount (Linux 6.8) is never
// used again. So on older kernels, file systems in memory are not known to be local.
struct Mount {
    std::atomic<std::uint64_t> number = 0;
    std::atomic<std::uint64_t> device = 0;
};

std::array<Mount, 64> local{};
std::atomic<std::size_t> next_place = 0;

// By f_type of fstatfs(2); not every <linux/magic.h> names all of them.
bool is_local_type(std::uint32_t type) noexcept {
    constexpr std::uint32_t f2fs_magic = 0xf2f52010;
    constexpr std::uint32_t xfs_magic = 0x58465342;
    return type == TMPFS_MAGIC || type == RAMFS_MAGIC || type == HUGETLBFS_MAGIC ||
           type == EXT4_SUPER_MAGIC || type == xfs_magic || type == BTRFS_SUPER_MAGIC ||
           type == f2fs_magic;
}

constexpr unsigned is_unique = 0x4000U;

std::uint64_t device_of(const struct statx& status) noexcept {
    return makedev(status.stx_dev_major, status.stx_dev_minor);
}

}  // namespace

bool LocalMounts::is_local(const struct statx& status) noexcept {
    const auto device = device_of(status);
    if (device == 0) {
        return false;
    }
    const auto number = status.stx_mnt_id;
    return std::ranges::any_of(local, [&](const Mount& mount) {
        return mount.device.load(std::memory_order_acquire) == device &&
               mount.number.load(std::memory_order_relaxed) == number;
    });
}

void LocalMounts::learn(int fd, const struct statx& status) noexcept {
    const bool is_known_for_good = (status.stx_mask & is_unique) != 0 || status.stx_dev_major != 0;
    struct statfs file_system{};
    if (!is_known_for_good || is_local(status) || fstatfs(fd, &file_system) != 0) {
        return;
    }
    if (!is_local_type(static_cast<std::uint32_t>(file_system.f_type))) {
        return;
    }
    const ForkBarrier barrier;  // also keeps out other threads
    auto& place = local[next_place.fetch_add(1) % local.size()];
    place.device.store(0, std::memory_order_release);
    place.number.store(status.stx_mnt_id, std::memory_order_release);
    place.device.store(device_of(status), std::memory_order_release);
}

}  // namespace engine
