// SPDX-License-Identifier: Apache-2.0
#include "engine/device_book.hpp"

#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "engine/file_system.hpp"

namespace engine {
namespace {

// The last ones learnt; 0 is no device that has files.
std::array<std::atomic<std::uint64_t>, 32> local_disks{};
std::atomic<std::uint32_t> next_place{0};

}  // namespace

void DeviceBook::learn(int fd) noexcept {
    struct stat status{};
    struct statfs file_system{};
    if (fstat(fd, &status) != 0 || is_local_disk(status.st_dev) || !S_ISREG(status.st_mode) ||
        fstatfs(fd, &file_system) != 0) {
        return;
    }
    if (is_on_local_disk(static_cast<std::uint32_t>(file_system.f_type))) {
        local_disks[next_place.fetch_add(1) % local_disks.size()].store(status.st_dev);
    }
}

bool DeviceBook::is_local_disk(std::uint64_t device) noexcept {
    return device != 0 && std::ranges::any_of(local_disks, [device](const auto& known) {
               return known.load(std::memory_order_relaxed) == device;
           });
}

}  // namespace engine
