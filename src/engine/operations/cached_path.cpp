// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/cached_path.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <string_view>
#include <utility>

#include "engine/device_number.hpp"
#include "engine/local_mounts.hpp"

namespace engine {
namespace {

// <linux/openat2.h>'s, which is younger than some systems' headers.
struct OpenHow {
    std::uint64_t flags;
    std::uint64_t mode;
    std::uint64_t resolve;
};
constexpr std::uint64_t resolve_cached = 0x20;

// Set if the kernel or a sandbox refuses openat2(2), or RESOLVE_CACHED (Linux 5.12).
std::atomic<bool> is_refused = false;

int call_openat2(int dir_fd, const char* path, std::uint64_t flags) noexcept {
#ifdef __NR_openat2
    OpenHow how{.flags = flags, .mode = 0, .resolve = resolve_cached};
    return static_cast<int>(syscall(__NR_openat2, dir_fd, path, &how, sizeof how));
#else
    errno = ENOSYS;
    return -1;
#endif
}

// Whether the error means that openat2(2) is refused for all paths. A file system may give the same
// error for a single name, as exFAT does for one that is no UTF-8: then the root can be opened.
bool refuses_all(int error) noexcept {
    if (error != EPERM && error != EINVAL) {
        return error == ENOSYS;
    }
    const UniqueFd root(call_openat2(AT_FDCWD, "/", O_PATH | O_CLOEXEC));
    return !root.is_open() && errno == error;
}

int try_openat2(int dir_fd, const char* path, std::uint64_t flags) noexcept {
    if (is_refused.load(std::memory_order_relaxed)) {
        errno = ENOSYS;
        return -1;
    }
    const int fd = call_openat2(dir_fd, path, flags);
    const int error = errno;
    if (fd < 0 && refuses_all(error)) {
        is_refused.store(true, std::memory_order_relaxed);
    }
    errno = error;
    return fd;
}

// Whether the error tells nothing about the path: it may come from a sandbox, or may be gone soon.
bool says_nothing(int error) noexcept {
    return error == EAGAIN || error == EPERM || error == ENOSYS || error == EINVAL ||
           error == EINTR || error == ENOMEM || error == EMFILE || error == ENFILE ||
           error == EFAULT || error == E2BIG;
}

// Removes the last part of the path. False if nothing is left then.
bool remove_last_part(std::string_view& path) noexcept {
    const auto end = path.find_last_not_of('/');
    if (end == std::string_view::npos) {
        return false;
    }
    const auto slash = path.find_last_of('/', end);
    path = path.substr(0, slash == std::string_view::npos ? 0 : slash + 1);
    return true;
}

}  // namespace

std::uint64_t find_cached_device(int dir_fd, const char* path) noexcept {
    std::string_view known(path);
    std::array<char, PATH_MAX> text;
    if (known.size() >= text.size()) {
        return 0;
    }
    do {
        const auto end = known.copy(text.data(), known.size());
        text[end] = '\0';
        const UniqueFd file(try_openat2(dir_fd, end != 0 ? text.data() : ".", O_PATH | O_CLOEXEC));
        struct statx status{};
        if (file.is_open() &&
            statx(file.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) == 0) {
            return device_number(status.stx_dev_major, status.stx_dev_minor);
        }
    } while (!is_refused.load(std::memory_order_relaxed) && remove_last_part(known));
    return 0;
}

CachedPath find_cached(int dir_fd, const char* path, bool follows) noexcept {
    CachedPath found;
    const auto flags = static_cast<unsigned>(O_PATH | O_CLOEXEC | (follows ? 0 : O_NOFOLLOW));
    UniqueFd file(try_openat2(dir_fd, path, flags));
    if (!file.is_open()) {
        found.error = says_nothing(errno) ? 0 : errno;
        return found;
    }
    if (statx(file.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
              STATX_BASIC_STATS | LocalMounts::mask, &found.status) == 0 &&
        LocalMounts::is_local(found.status)) {
        found.file = std::move(file);
    }
    return found;
}

// To open the path once more takes half as long as to open a link of proc(5) to the file. Another
// file may take the path between the look and this. It is then opened, told apart by its status,
// and closed again.
UniqueFd open_cached(const CachedPath& found, int dir_fd, const char* path, int flags) noexcept {
    const auto& expected = found.status;
    if (!found.file.is_open() || !S_ISREG(expected.stx_mode) || expected.stx_nlink == 0) {
        return {};
    }
    const auto all_flags = static_cast<unsigned>(flags | O_NONBLOCK | O_LARGEFILE);
    UniqueFd file(try_openat2(dir_fd, path, all_flags));
    struct statx status{};
    const bool is_same =
        file.is_open() &&
        statx(file.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) == 0 &&
        status.stx_ino == expected.stx_ino && status.stx_dev_major == expected.stx_dev_major &&
        status.stx_dev_minor == expected.stx_dev_minor;
    return is_same ? std::move(file) : UniqueFd();
}

}  // namespace engine
