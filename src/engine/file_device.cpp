// SPDX-License-Identifier: Apache-2.0
#include "engine/file_device.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "engine/device_number.hpp"

namespace engine {

std::uint64_t device_of(int fd) noexcept {
    constexpr std::uint64_t of_streams = 1;
    struct statx status{};
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) {
        return 0;
    }
    if (S_ISREG(status.stx_mode) || S_ISDIR(status.stx_mode)) {
        return device_number(status.stx_dev_major, status.stx_dev_minor);
    }
    if (S_ISBLK(status.stx_mode)) {
        return device_number(status.stx_rdev_major, status.stx_rdev_minor);
    }
    return of_streams;
}

}  // namespace engine
