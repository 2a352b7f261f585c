// SPDX-License-Identifier: Apache-2.0
#include "engine/file_book.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "engine/device_book.hpp"

namespace engine {
namespace {

constexpr std::uint8_t longest_pause = 128;

// Whether direct reads of the file are known not to wait in io_submit(2).
bool is_asynchronous(int fd) noexcept {
    struct statx status{};
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) {
        return false;
    }
    return S_ISBLK(status.stx_mode) ||
           (S_ISREG(status.stx_mode) &&
            DeviceBook::is_local_disk(makedev(status.stx_dev_major, status.stx_dev_minor)));
}

}  // namespace

FileBook::Look FileBook::look_at(int fd) noexcept {
    Look look{.fd = fd};
    if (fcntl(fd, F_GET_SEALS) >= 0) {
        look.medium = Medium::memory;
        return look;
    }
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return look;
    }
    look.medium = Medium::buffered;
    if ((flags & O_DIRECT) != 0) {
        look.medium = is_asynchronous(fd) ? Medium::direct : Medium::direct_far;
    }
    return look;
}

FileBook::Identity FileBook::identify(int fd) noexcept {
    struct statx status{};
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) != 0) {
        return {};
    }
    return {.device = makedev(status.stx_dev_major, status.stx_dev_minor), .inode = status.stx_ino};
}

FileBook::Entry& FileBook::entry_of(int fd) noexcept {
    return entries_[static_cast<std::size_t>(fd) % entries_.size()];
}

FileBook::Advice FileBook::advise(int fd, Known& known) noexcept {
    auto& entry = entry_of(fd);
    if (entry.fd != fd || (!entry.is_unsupported && entry.left == 0)) {
        return Advice::try_it;
    }
    if (known.fd_ != fd) {
        known.fd_ = fd;
        known.identity_ = identify(fd);
    }
    if (known.identity_ != entry.identity) {
        entry = {};
        return Advice::try_it;
    }
    if (entry.is_unsupported) {
        return Advice::unsupported;
    }
    --entry.left;
    return Advice::misses;
}

void FileBook::note_hit(int fd) noexcept {
    if (auto& entry = entry_of(fd); entry.fd == fd) {
        entry.pause = 0;
        entry.left = 0;
    }
}

// The entry of the file that the number is now.
FileBook::Entry& FileBook::renew(int fd) noexcept {
    auto& entry = entry_of(fd);
    const auto identity = identify(fd);
    if (entry.fd != fd || entry.identity != identity) {
        entry = {.fd = fd, .identity = identity};
    }
    return entry;
}

void FileBook::note_miss(int fd) noexcept {
    auto& entry = renew(fd);
    entry.pause = static_cast<std::uint8_t>(std::min(entry.pause * 2 + 4, int{longest_pause}));
    entry.left = entry.pause;
}

void FileBook::note_unsupported(int fd) noexcept { renew(fd).is_unsupported = true; }

}  // namespace engine
