// SPDX-License-Identifier: Apache-2.0
#include "engine/file_type.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <string_view>

namespace engine {
namespace {

// Returns the type, in the bits of S_IFMT. Asks statx(2) first, because fstat(2) may ask a server;
// fstat(2) is for sandboxes that refuse statx(2).
std::optional<unsigned> type_of(int fd) noexcept {
    struct statx status{};
    constexpr int asks_no_server = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    if (statx(fd, "", asks_no_server, STATX_TYPE, &status) == 0) {
        return status.stx_mode & unsigned{S_IFMT};
    }
    struct stat older{};
    if (fstat(fd, &older) == 0) {
        return older.st_mode & unsigned{S_IFMT};
    }
    return std::nullopt;
}

// The name that /proc shows for an eventfd, an epoll instance and the like, as
// "anon_inode:[eventfd]". Empty if it can't be found out.
using KindName = std::array<char, 64>;
std::string_view kind_name_of(int fd, KindName& name) noexcept {
    std::array<char, 64> path{};
    std::snprintf(path.data(), path.size(), "/proc/thread-self/fd/%d", fd);
    const auto length = readlink(path.data(), name.data(), name.size());
    return {name.data(), length < 0 ? 0 : static_cast<std::size_t>(length)};
}

// Whether a file that has no type is closed quickly. The last close of an inotify descriptor, for
// one, waits until nobody can be looking at its watches any more, some 15 ms.
bool is_quickly_closed(int fd) noexcept {
    KindName name{};
    const auto found = kind_name_of(fd, name);
    if (found.empty()) {
        return true;
    }
    static constexpr std::array<std::string_view, 4> quick{
        "anon_inode:[eventfd]", "anon_inode:[timerfd]", "anon_inode:[signalfd]",
        "anon_inode:[pidfd]"};
    return std::ranges::find(quick, found) != quick.end();
}

bool lingers(int socket) noexcept {
    linger setting{};
    socklen_t size = sizeof setting;
    return getsockopt(socket, SOL_SOCKET, SO_LINGER, &setting, &size) != 0 || setting.l_onoff != 0;
}

}  // namespace

bool is_stream(int fd) noexcept {
    const auto type = type_of(fd);
    return type && is_stream(fd, *type);
}

bool is_stream(int fd, unsigned type) noexcept {
    switch (type) {
        case S_IFREG:
        case S_IFBLK:
        case S_IFDIR:
            return false;
        case S_IFCHR:
            return lseek(fd, 0, SEEK_CUR) < 0;
        default:  // some, as eventfds, have no type
            return true;
    }
}

bool is_read_in_step(int fd) noexcept {
    struct statx status{};
    constexpr int asks_no_server = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    if (statx(fd, "", asks_no_server, STATX_TYPE, &status) != 0) {
        return type_of(fd) == 0U;
    }
    const auto type = status.stx_mode & unsigned{S_IFMT};
    return type == 0 || is_terminal_master(type, status.stx_rdev_major, status.stx_rdev_minor);
}

// The numbers are those of /dev/ptmx, by which each is opened.
bool is_terminal_master(unsigned type, unsigned major, unsigned minor) noexcept {
    return type == unsigned{S_IFCHR} && major == 5 && minor == 2;
}

// Where the name can't be found out, as without /proc, the file may be one.
bool is_signalfd(int fd) noexcept {
    KindName buffer{};
    if (type_of(fd) != 0U) {
        return false;
    }
    const auto name = kind_name_of(fd, buffer);
    return name.empty() || name == "anon_inode:[signalfd]";
}

std::size_t least_read(int fd) noexcept {
    KindName buffer{};
    if (type_of(fd) != 0U) {
        return 0;
    }
    const auto name = kind_name_of(fd, buffer);
    if (name == "anon_inode:[eventfd]" || name == "anon_inode:[timerfd]") {
        return 8;
    }
    return name == "anon_inode:[signalfd]" ? 128 : 0;
}

Closing closing_of(int fd) noexcept {
    switch (type_of(fd).value_or(S_IFREG)) {
        case S_IFREG:
        case S_IFBLK:
        case S_IFDIR:
            return Closing::on_disk;
        case S_IFCHR:
            return Closing::waits;
        case S_IFSOCK:
            return lingers(fd) ? Closing::waits : Closing::at_once;
        case S_IFIFO:
            return Closing::at_once;
        default:
            return is_quickly_closed(fd) ? Closing::at_once : Closing::waits;
    }
}

}  // namespace engine
