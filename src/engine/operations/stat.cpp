// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/stat.hpp"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "engine/local_mounts.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/operations/system_result.hpp"

namespace engine {
namespace {

constexpr unsigned mask = STATX_BASIC_STATS | LocalMounts::mask;

statx_timestamp time_of(const timespec& time) noexcept {
    statx_timestamp result{};
    result.tv_sec = time.tv_sec;
    result.tv_nsec = static_cast<std::uint32_t>(time.tv_nsec);
    return result;
}

void convert(const struct stat& older, struct statx& status) noexcept {
    status = {};
    status.stx_mask = STATX_BASIC_STATS;
    status.stx_blksize = static_cast<std::uint32_t>(older.st_blksize);
    status.stx_nlink = static_cast<std::uint32_t>(older.st_nlink);
    status.stx_uid = older.st_uid;
    status.stx_gid = older.st_gid;
    status.stx_mode = static_cast<std::uint16_t>(older.st_mode);
    status.stx_ino = older.st_ino;
    status.stx_size = static_cast<std::uint64_t>(older.st_size);
    status.stx_blocks = static_cast<std::uint64_t>(older.st_blocks);
    status.stx_atime = time_of(older.st_atim);
    status.stx_mtime = time_of(older.st_mtim);
    status.stx_ctime = time_of(older.st_ctim);
    status.stx_rdev_major = major(older.st_rdev);
    status.stx_rdev_minor = minor(older.st_rdev);
    status.stx_dev_major = major(older.st_dev);
    status.stx_dev_minor = minor(older.st_dev);
}

}  // namespace

std::int64_t find_status(int fd, const char* path, int flags, struct statx& status) noexcept {
    const int empty = *path == '\0' ? AT_EMPTY_PATH : 0;
    // stat(2) and its kin mount nothing either; statx(2) would mount what a path of autofs(5) names
    const int all_flags = flags | empty | AT_NO_AUTOMOUNT;
    const auto result =
        call_uninterrupted([&] { return statx(fd, path, all_flags, mask, &status); });
    if (result != -ENOSYS && result != -EPERM) {
        return result;
    }
    struct stat older{};
    const auto found = call_uninterrupted([&] {
        return empty != 0 ? fstat(fd, &older)
                          : fstatat(fd, path, &older, flags & AT_SYMLINK_NOFOLLOW);
    });
    if (found != 0) {
        return found;
    }
    convert(older, status);
    return 0;
}

std::optional<std::int64_t> StatCall::try_at_once() noexcept {
    if (path_ != nullptr) {
        const auto found = find_cached(fd_, path_, follows_);
        if (found.error != 0) {
            return -found.error;
        }
        status_ = found.status;
        return found.file.is_open() ? std::optional<std::int64_t>(0) : std::nullopt;
    }
    const bool is_found = statx(fd_, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, mask, &status_) == 0 &&
                          LocalMounts::is_local(status_);
    return is_found ? std::optional<std::int64_t>(0) : std::nullopt;
}

std::int64_t StatCall::run(const CallFiles& files) noexcept {
    if (path_ == nullptr) {
        const auto result = find_status(files.first, "", 0, status_);
        if (result == 0) {
            LocalMounts::learn(files.first, status_);
        }
        return result;
    }
    if (*path_ == '\0') {
        return -ENOENT;
    }
    const auto result =
        find_status(files.first, path_, follows_ ? 0 : AT_SYMLINK_NOFOLLOW, status_);
    // a symbolic link can't be asked for its file system, and need not be
    if (result == 0 && !LocalMounts::is_local(status_) && !S_ISLNK(status_.stx_mode)) {
        if (const UniqueFd file(openat(files.first, path_, O_PATH | O_CLOEXEC)); file.is_open()) {
            struct statx again{};
            if (find_status(file.get(), "", 0, again) == 0) {
                LocalMounts::learn(file.get(), again);
            }
        }
    }
    return result;
}

}  // namespace engine
