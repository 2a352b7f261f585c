// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/replace_file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "engine/operations/random_number.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/operations/write_all.hpp"

namespace engine {
namespace {

constexpr int most_links = 40;  // as the kernel follows
constexpr mode_t new_mode = 0666;

// As mkdir -p; what others make meanwhile is welcome.
std::int64_t make_folders(char* path) noexcept {
    for (char* slash = std::strchr(path + 1, '/'); slash != nullptr;
         slash = std::strchr(slash + 1, '/')) {
        *slash = '\0';
        const auto result = result_of(mkdir(path, 0777));
        *slash = '/';
        // EROFS and EACCES may be said of directories that are there
        if (result < 0 && result != -EEXIST && result != -EROFS && result != -EACCES) {
            return result;
        }
    }
    const auto result = result_of(mkdir(path, 0777));
    return result == -EEXIST ? 0 : result;
}

}  // namespace

std::int64_t ReplaceFileCall::run(const CallFiles& /*files*/) noexcept {
    const auto result = replace();
    // here, where its number is: this thread may have a table of its own
    file_ = UniqueFd();
    return result;
}

std::int64_t ReplaceFileCall::replace() noexcept {
    if (const auto result = find_target(); result < 0) {
        return result;
    }
    if (exists_ && options_.exclusive) {
        return -EEXIST;
    }
    if (exists_ && S_ISDIR(old_.st_mode)) {
        return -EISDIR;
    }
    // a device, FIFO or socket stays what it is
    if (exists_ && !S_ISREG(old_.st_mode)) {
        return write_in_place();
    }
    // whoever may not write to a file may not replace it either
    if (exists_ && faccessat(AT_FDCWD, target_.data(), W_OK, AT_EACCESS) != 0) {
        return -errno;
    }
    auto result = open_new();
    if (result == -EACCES && exists_) {
        return write_in_place();  // the directory can't be written to
    }
    if (result < 0) {
        return result;
    }
    result = fill_new();
    if (result >= 0) {
        result = give_name();
    }
    if (result < 0 && temporary_[0] != '\0') {
        unlink(temporary_.data());
    }
    return result < 0 ? result : static_cast<std::int64_t>(size_);
}

// Follows symbolic links at the end of the path, also those that lead to nothing yet.
std::int64_t ReplaceFileCall::find_target() noexcept {
    const auto length = std::strlen(path_);
    if (length >= target_.size()) {
        return -ENAMETOOLONG;
    }
    std::copy_n(path_, length + 1, target_.data());
    for (int links = 0; links <= most_links; ++links) {
        if (lstat(target_.data(), &old_) != 0) {
            return errno == ENOENT ? split_target() : -errno;
        }
        if (!S_ISLNK(old_.st_mode) || options_.exclusive) {
            exists_ = true;
            return split_target();
        }
        Path link;
        const auto size = readlink(target_.data(), link.data(), link.size() - 1);
        if (size < 0) {
            return -errno;
        }
        const auto count = static_cast<std::size_t>(size);
        char* end = target_.data();
        if (link[0] != '/') {
            char* const slash = std::strrchr(target_.data(), '/');
            end = slash == nullptr ? target_.data() : slash + 1;
        }
        if (static_cast<std::size_t>(end - target_.data()) + count >= target_.size()) {
            return -ENAMETOOLONG;
        }
        std::copy_n(link.data(), count, end);
        end[count] = '\0';
    }
    return -ELOOP;
}

std::int64_t ReplaceFileCall::split_target() noexcept {
    const char* const slash = std::strrchr(target_.data(), '/');
    if (slash == nullptr) {
        folder_[0] = '.';
    } else if (slash == target_.data()) {
        folder_[0] = '/';
    } else {
        std::copy_n(target_.data(), slash - target_.data(), folder_.data());
    }
    const char* const name = slash == nullptr ? target_.data() : slash + 1;
    if (*name == '\0') {
        return exists_ ? -EISDIR : -ENOENT;
    }
    return 0;
}

std::int64_t ReplaceFileCall::open_new() noexcept {
    auto result = open_without_name();
    if (result == -ENOENT && options_.makes_parents) {
        result = make_folders(folder_.data());
        if (result == 0) {
            result = open_without_name();
        }
    }
    if (result == -EOPNOTSUPP || result == -EISDIR || result == -EINVAL) {
        result = open_with_name();
    }
    return result;
}

std::int64_t ReplaceFileCall::open_without_name() noexcept {
    do {
        file_ = UniqueFd(open(folder_.data(), O_TMPFILE | O_WRONLY | O_CLOEXEC, new_mode));
    } while (!file_.is_open() && errno == EINTR);
    return file_.is_open() ? 0 : -errno;
}

std::int64_t ReplaceFileCall::open_with_name() noexcept {
    do {
        if (!new_name()) {
            return -ENAMETOOLONG;
        }
        file_ =
            UniqueFd(open(temporary_.data(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, new_mode));
    } while (!file_.is_open() && (errno == EINTR || errno == EEXIST));
    if (!file_.is_open()) {
        temporary_[0] = '\0';
        return -errno;
    }
    return 0;
}

// .NAME.RANDOM.tmp beside the target.
bool ReplaceFileCall::new_name() noexcept {
    const char* const slash = std::strrchr(target_.data(), '/');
    const char* const name = slash == nullptr ? target_.data() : slash + 1;
    const int length =
        std::snprintf(temporary_.data(), temporary_.size(), "%s/.%.200s.%012" PRIx64 ".tmp",
                      folder_.data(), name, random_number() & 0xffffffffffffU);
    return length > 0 && static_cast<std::size_t>(length) < temporary_.size();
}

std::int64_t ReplaceFileCall::fill_new() noexcept {
    const auto written = write_all(file_.get(), data_, size_);
    if (written < 0) {
        return written;
    }
    if (exists_) {
        // its owner, as far as that is allowed; which takes away bits of the mode
        if (old_.st_uid != geteuid() || old_.st_gid != getegid()) {
            [[maybe_unused]] const int ignored = fchown(file_.get(), old_.st_uid, old_.st_gid);
        }
        if (fchmod(file_.get(), old_.st_mode & 07777U) != 0) {
            return -errno;
        }
    }
    if (options_.durable && fsync(file_.get()) != 0) {
        return -errno;
    }
    // a server may report a failed write only now
    if (temporary_[0] != '\0' && ::close(file_.release()) != 0 && errno != EINTR) {
        return -errno;
    }
    return 0;
}

std::int64_t ReplaceFileCall::give_name() noexcept {
    std::int64_t result = 0;
    const bool has_name = temporary_[0] != '\0';
    if (options_.exclusive && has_name && rename_to_new(target_.data(), result)) {
        return result < 0 || !options_.durable ? result : sync_folder();
    }
    if (options_.exclusive || (!has_name && !exists_)) {
        result = link_to(target_.data());
        if (result == 0 && has_name) {
            unlink(temporary_.data());
            temporary_[0] = '\0';
        }
        if (result == 0 || options_.exclusive || result != -EEXIST) {
            return result < 0 || !options_.durable ? result : sync_folder();
        }
        // somebody else has made a file of that name meanwhile: it is replaced
    }
    if (!has_name) {
        do {
            if (!new_name()) {
                return -ENAMETOOLONG;
            }
            result = link_to(temporary_.data());
        } while (result == -EEXIST);
        if (result < 0) {
            temporary_[0] = '\0';
            return result;
        }
    }
    if (rename(temporary_.data(), target_.data()) != 0) {
        return -errno;
    }
    temporary_[0] = '\0';
    return options_.durable ? sync_folder() : 0;
}

// Of a file with a temporary name, on a file system that may have no hard links. False: it can't be
// done so there.
bool ReplaceFileCall::rename_to_new(const char* name, std::int64_t& result) noexcept {
    result = result_of(
        syscall(SYS_renameat2, AT_FDCWD, temporary_.data(), AT_FDCWD, name, RENAME_NOREPLACE));
    if (result == -EINVAL || result == -ENOSYS) {
        return false;
    }
    if (result == 0) {
        temporary_[0] = '\0';
    }
    return true;
}

std::int64_t ReplaceFileCall::link_to(const char* name) noexcept {
    if (!file_.is_open()) {
        return result_of(link(temporary_.data(), name));
    }
    std::array<char, 40> own;
    std::snprintf(own.data(), own.size(), "/proc/thread-self/fd/%d", file_.get());
    return result_of(linkat(AT_FDCWD, own.data(), AT_FDCWD, name, AT_SYMLINK_FOLLOW));
}

std::int64_t ReplaceFileCall::write_in_place() const noexcept {
    UniqueFd file;
    do {
        file = UniqueFd(open(target_.data(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    } while (!file.is_open() && errno == EINTR);
    if (!file.is_open()) {
        return -errno;
    }
    if (const auto result = write_all(file.get(), data_, size_); result < 0) {
        return result;
    }
    // EINVAL: of a device that can't be synced
    if (options_.durable && fsync(file.get()) != 0 && errno != EINVAL && errno != EROFS) {
        return -errno;
    }
    if (::close(file.release()) != 0 && errno != EINTR) {
        return -errno;
    }
    return static_cast<std::int64_t>(size_);
}

std::int64_t ReplaceFileCall::sync_folder() const noexcept {
    const UniqueFd folder(open(folder_.data(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.is_open() || (fsync(folder.get()) != 0 && errno != EINVAL)) {
        return -errno;
    }
    return 0;
}

}  // namespace engine
