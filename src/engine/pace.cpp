// SPDX-License-Identifier: Apache-2.0
#include "engine/pace.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>

#include "engine/alignment.hpp"
#include "engine/file_system.hpp"

namespace engine {
namespace {

constexpr std::int64_t lifetime = 10'000'000;  // ns

std::int64_t now() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

Pace PaceMaker::expect(const Request& request) noexcept {
    if (!transfers_data(request.opcode)) {
        return Pace::asynchronous;
    }
    if (request.fd < 0) {
        return Pace::at_once;  // refused
    }
    const std::lock_guard lock(mutex_);
    auto& file = files_[static_cast<std::size_t>(request.fd) % files_.size()];
    if (file.fd != request.fd || now() - file.checked_at > lifetime) {
        file = look_at(request.fd);
    }
    const bool may_wait = (request.rw_flags & RWF_NOWAIT) == 0;
    switch (file.medium) {
        case Medium::memory:
            return Pace::at_once;
        case Medium::disk:
            if (!file.is_direct) {
                return may_wait ? Pace::inside : Pace::at_once;
            }
            return may_wait && !is_read(request.opcode) ? Pace::unknown : Pace::asynchronous;
        case Medium::unknown:
            break;
    }
    return may_wait ? Pace::unknown : Pace::asynchronous;
}

void PaceMaker::learn(const Request& request) noexcept {
    if (request.fd < 0) {
        return;
    }
    const auto place = static_cast<std::size_t>(request.fd) % files_.size();
    {
        const std::lock_guard lock(mutex_);
        if (files_[place].fd == request.fd && files_[place].was_learnt) {
            return;
        }
    }
    struct statfs file_system{};
    struct stat status{};
    const bool known = fstatfs(request.fd, &file_system) == 0 && fstat(request.fd, &status) == 0;
    const auto type = static_cast<std::uint32_t>(file_system.f_type);
    const std::lock_guard lock(mutex_);
    if (known && (is_in_memory(type) || is_on_local_disk(type)) &&
        medium_of(status.st_dev) == Medium::unknown) {
        devices_[next_device_] = {.number = status.st_dev,
                                  .medium = is_in_memory(type) ? Medium::memory : Medium::disk};
        next_device_ = (next_device_ + 1) % devices_.size();
    }
    files_[place] = look_at(request.fd);
    files_[place].was_learnt = true;
}

PaceMaker::File PaceMaker::look_at(int fd) noexcept {
    File file{.fd = fd, .checked_at = now()};
    struct statx status{};
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) {
        return file;
    }
    file.is_direct = is_direct(fd);
    if (S_ISREG(status.stx_mode)) {
        file.medium = medium_of(makedev(status.stx_dev_major, status.stx_dev_minor));
    } else if (S_ISBLK(status.stx_mode)) {
        file.medium = Medium::disk;
    }
    return file;
}

PaceMaker::Medium PaceMaker::medium_of(std::uint64_t device) const noexcept {
    for (const auto& known : devices_) {
        if (known.medium != Medium::unknown && known.number == device) {
            return known.medium;
        }
    }
    return Medium::unknown;
}

}  // namespace engine
