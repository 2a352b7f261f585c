// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/path_call.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "engine/file_status.hpp"
#include "engine/file_type.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/system_call_number.hpp"
#include "engine/unique_fd.hpp"

namespace engine {

// The first path of symlink(2) is no more than a text.
Call::Paths PathCall::paths() const noexcept {
    const bool is_text = function_ == path_functions::symlink;
    return {.first = is_text ? nullptr : arguments_.path, .second = arguments_.other_path};
}

std::int64_t PathCall::run(const CallFiles& files) noexcept {
    std::int64_t result = 0;
    do {
        result = function_(files, arguments_);
    } while (result == -EINTR);
    return result;
}

namespace path_functions {
namespace {

int no_follow(const PathArguments& arguments) noexcept {
    return arguments.follows ? 0 : AT_SYMLINK_NOFOLLOW;
}

// fchmodat2(2) came with Linux 6.6.
constexpr long fchmodat2_number = number_of_new_call(452);

// The C library's fchmodat() of AT_SYMLINK_NOFOLLOW goes by /proc/self/fd, which names other files
// where a thread of ours has a table of its own.
int chmod_without_following(int folder, const char* path, mode_t mode) noexcept {
    const auto result = syscall(fchmodat2_number, folder, path, mode, AT_SYMLINK_NOFOLLOW);
    if (result == 0 || errno != ENOSYS) {
        return static_cast<int>(result);
    }
    const UniqueFd file(openat(folder, path, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status{};
    if (!file.is_open() || fstat(file.get(), &status) != 0) {
        return -1;
    }
    if (S_ISLNK(status.st_mode)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    std::array<char, 40> name;
    std::snprintf(name.data(), name.size(), "/proc/thread-self/fd/%d", file.get());
    return ::chmod(name.data(), mode);
}

// Copies by way of memory as much as one read gives. Returns 0 at the end of the source.
std::int64_t copy_some(int source, int target) noexcept {
    std::array<char, 65536> buffer;
    const auto length = result_of(::read(source, buffer.data(), buffer.size()));
    for (std::int64_t written = 0; written < length;) {
        const auto result = result_of(
            ::write(target, buffer.data() + written, static_cast<std::size_t>(length - written)));
        if (result <= 0 && result != -EINTR) {
            return result < 0 ? result : -EIO;
        }
        written += result > 0 ? result : 0;
    }
    return length;
}

// Sends of a file as much as a socket takes without waiting. sendfile(2) would wait until the other
// side has taken all of it, and a thread of ours with it. Moves the file's position on if `place`
// is null.
std::int64_t send_some(int file, int socket, const off_t* place, std::size_t count) noexcept {
    std::array<char, 65536> buffer;
    count = std::min(count, buffer.size());
    const auto start = place != nullptr ? *place : lseek(file, 0, SEEK_CUR);
    const auto length = result_of(::pread(file, buffer.data(), count, start));
    if (length <= 0) {
        return length;
    }
    const auto sent = result_of(::send(socket, buffer.data(), static_cast<std::size_t>(length),
                                       MSG_DONTWAIT | MSG_NOSIGNAL));
    if (sent > 0 && place == nullptr) {
        lseek(file, start + sent, SEEK_SET);
    }
    return sent;
}

}  // namespace

std::int64_t mkdir(const CallFiles& files, const PathArguments& arguments) noexcept {
    return result_of(mkdirat(files.first, arguments.path, static_cast<mode_t>(arguments.first)));
}

std::int64_t rmdir(const CallFiles& files, const PathArguments& arguments) noexcept {
    return result_of(unlinkat(files.first, arguments.path, AT_REMOVEDIR));
}

std::int64_t unlink(const CallFiles& files, const PathArguments& arguments) noexcept {
    return result_of(unlinkat(files.first, arguments.path, 0));
}

std::int64_t rename(const CallFiles& files, const PathArguments& arguments) noexcept {
    return result_of(renameat(files.first, arguments.path, files.second, arguments.other_path));
}

std::int64_t link(const CallFiles& files, const PathArguments& arguments) noexcept {
    return result_of(linkat(files.first, arguments.path, files.second, arguments.other_path,
                            arguments.follows ? AT_SYMLINK_FOLLOW : 0));
}

std::int64_t symlink(const CallFiles& files, const PathArguments& arguments) noexcept {
    return result_of(symlinkat(arguments.path, files.second, arguments.other_path));
}

std::int64_t chmod(const CallFiles& files, const PathArguments& arguments) noexcept {
    const auto mode = static_cast<mode_t>(arguments.first);
    if (arguments.path == nullptr) {
        return result_of(fchmod(files.first, mode));
    }
    return result_of(arguments.follows
                         ? fchmodat(files.first, arguments.path, mode, 0)
                         : chmod_without_following(files.first, arguments.path, mode));
}

std::int64_t chown(const CallFiles& files, const PathArguments& arguments) noexcept {
    const auto user = static_cast<uid_t>(arguments.first);
    const auto group = static_cast<gid_t>(arguments.second);
    return result_of(arguments.path == nullptr ? fchown(files.first, user, group)
                                               : fchownat(files.first, arguments.path, user, group,
                                                          no_follow(arguments)));
}

std::int64_t utime(const CallFiles& files, const PathArguments& arguments) noexcept {
    const auto* times = arguments.times.data();
    return result_of(arguments.path == nullptr
                         ? futimens(files.first, times)
                         : utimensat(files.first, arguments.path, times, no_follow(arguments)));
}

std::int64_t truncate(const CallFiles& files, const PathArguments& arguments) noexcept {
    const auto length = static_cast<off_t>(arguments.first);
    return result_of(arguments.path == nullptr ? ftruncate(files.first, length)
                                               : ::truncate(arguments.path, length));
}

std::int64_t allocate(const CallFiles& files, const PathArguments& arguments) noexcept {
    return result_of(fallocate(files.first, static_cast<int>(arguments.first),
                               static_cast<off_t>(arguments.second),
                               static_cast<off_t>(arguments.third)));
}

std::int64_t posix_allocate(const CallFiles& files, const PathArguments& arguments) noexcept {
    return -posix_fallocate(files.first, static_cast<off_t>(arguments.second),
                            static_cast<off_t>(arguments.third));
}

std::int64_t access(const CallFiles& files, const PathArguments& arguments) noexcept {
    const int flags = no_follow(arguments) | (arguments.second != 0 ? AT_EACCESS : 0);
    const auto result = call_uninterrupted([&] {
        return faccessat(files.first, arguments.path, static_cast<int>(arguments.first), flags);
    });
    return result == 0 ? 1 : 0;
}

std::int64_t sendfile(const CallFiles& files, const PathArguments& arguments) noexcept {
    auto offset = static_cast<off_t>(arguments.first);
    auto* place = arguments.first < 0 ? nullptr : &offset;
    const auto count = static_cast<std::size_t>(arguments.second);
    const bool may_wait = (fcntl(files.first, F_GETFL) & O_NONBLOCK) == 0;
    const auto type = may_wait ? status_of(files.first).type : 0U;
    if (type == S_IFIFO) {
        return result_of(
            splice(files.second, place, files.first, nullptr, count, SPLICE_F_NONBLOCK));
    }
    if (type == S_IFSOCK && !is_stream(files.second)) {
        return send_some(files.second, files.first, place, count);
    }
    return result_of(::sendfile(files.first, files.second, place, count));
}

std::int64_t copy(const CallFiles& files, const PathArguments& /*arguments*/) noexcept {
    constexpr std::size_t most = std::size_t{1} << 30U;
    if (ioctl(files.first, FICLONE, files.second) == 0) {
        return 0;
    }
    bool is_in_kernel = true;
    for (std::int64_t total = 0;;) {
        if (files.is_cancelled()) {
            return -ECANCELED;  // there are devices without an end
        }
        std::int64_t result = -EINVAL;
        if (is_in_kernel) {
            result =
                result_of(copy_file_range(files.second, nullptr, files.first, nullptr, most, 0));
            // For some files of /proc and the like the kernel copies nothing, though they have
            // data.
            is_in_kernel = result > 0 || result == -EINTR ||
                           (result == -ENOSPC || result == -EDQUOT || result == -EIO);
            if (result == 0 && total > 0) {
                return total;
            }
        }
        if (!is_in_kernel) {
            result = copy_some(files.second, files.first);
            if (result == 0) {
                return total;
            }
        }
        if (result < 0 && result != -EINTR) {
            return result;
        }
        total += result > 0 ? result : 0;
    }
}

}  // namespace path_functions

}  // namespace engine
