// SPDX-License-Identifier: Apache-2.0
#include "engine/file_flush.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string_view>

#include "engine/clofork_fd.hpp"
#include "engine/file_status.hpp"

namespace engine {
namespace {

// File systems whose regular files have no `flush`. All others may have one: fuse, fuseblk and
// virtiofs ask a server, mqueue drops a registration.
constexpr std::array<std::string_view, 46> without_flush{
    "bcachefs", "bpf",      "btrfs",    "cgroup",     "cgroup2",   "configfs", "cramfs", "debugfs",
    "devpts",   "devtmpfs", "efivarfs", "erofs",      "exfat",     "ext2",     "ext3",   "ext4",
    "f2fs",     "hfs",      "hfsplus",  "hpfs",       "hugetlbfs", "iso9660",  "jffs2",  "jfs",
    "minix",    "msdos",    "nilfs2",   "nsfs",       "ntfs3",     "proc",     "pstore", "ramfs",
    "reiserfs", "romfs",    "rootfs",   "securityfs", "selinuxfs", "squashfs", "sysfs",  "tmpfs",
    "tracefs",  "ubifs",    "udf",      "vfat",       "xfs",       "zfs"};

// File systems whose `flush` writes back dirty data, and does nothing for a file that is open only
// for reading.
constexpr std::array<std::string_view, 4> with_flush_of_writers{"nfs", "nfs4", "cifs", "smb3"};

// Device drivers that have a flush which may wait.
constexpr unsigned major_of_usb = 180;
constexpr unsigned major_of_graphics = 226;

using Flush = MountTable::Flush;

Flush flush_of_type(std::string_view type) noexcept {
    if (std::ranges::find(without_flush, type) != without_flush.end()) {
        return Flush::none;
    }
    const auto found = std::ranges::find(with_flush_of_writers, type);
    return found != with_flush_of_writers.end() ? Flush::of_writers : Flush::always;
}

// Takes all text up to `end` off the front of the text, together with `end`.
std::string_view take_until(std::string_view& text, std::string_view end) noexcept {
    const auto length = std::min(text.find(end), text.size());
    const auto taken = text.substr(0, length);
    text.remove_prefix(std::min(text.size(), length + end.size()));
    return taken;
}

// A line of proc_pid_mountinfo(5).
struct Mount {
    unsigned long long id = 0;
    unsigned major = 0;
    unsigned minor = 0;
    std::string_view type;
};
template <typename Number>
void take_number(std::string_view& text, std::string_view end, Number& number) noexcept {
    const auto digits = take_until(text, end);
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
}
Mount parse(std::string_view line) noexcept {
    Mount mount;
    take_number(line, " ", mount.id);
    take_until(line, " ");  // the parent's id
    take_number(line, ":", mount.major);
    take_number(line, " ", mount.minor);
    take_until(line, " - ");
    mount.type = take_until(line, " ");
    return mount;
}

// Whether close(2) may ask a server because of this file system. The files of an overlay belong to
// another file system, which may be one that is mounted here.
bool is_served_by_others(std::string_view type) noexcept {
    return type.starts_with("fuse") || type == "virtiofs" ||
           flush_of_type(type) == Flush::of_writers;
}

std::string text_of(int fd) {
    std::string text;
    constexpr std::size_t step = std::size_t{16} * 1024;
    for (;;) {
        const auto size = text.size();
        text.resize(size + step);
        const auto count = read(fd, text.data() + size, step);
        text.resize(size + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
        if (count <= 0) {
            return text;
        }
    }
}

// Whether the file belongs to no mounted file system: then its name is a kind and a number, such as
// "pidfd:[1]".
bool is_nameless(int fd) noexcept {
    std::array<char, 48> path{};
    std::snprintf(path.data(), path.size(), "/proc/thread-self/fd/%d", fd);
    std::array<char, 64> name{};
    const auto size = readlink(path.data(), name.data(), name.size());
    return size > 0 && name[0] != '/' && name[0] != '(';
}

// Files of tmpfs and hugetlbfs, of memfd_create(2) too, have seals, and others have none.
bool is_in_memory(int fd) noexcept { return fcntl(fd, F_GET_SEALS) >= 0; }

bool regular_file_may_flush(int fd, const struct statx& status, MountTable& mounts) {
    if (is_in_memory(fd) || is_nameless(fd)) {
        return false;
    }
    switch (mounts.flush_of(fd, status)) {
        case Flush::none:
            return false;
        case Flush::of_writers:
            return (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
        case Flush::always:
            break;
    }
    return true;
}

}  // namespace

void MountTable::read() {
    CloforkFd fd;
    {
        const ForkBarrier barrier;
        fd.adopt(open("/proc/thread-self/mountinfo", O_RDONLY | O_CLOEXEC), barrier);
    }
    text_ = fd.is_open() ? text_of(fd.get()) : std::string();
    is_read_ = true;
}

MountTable::Flush MountTable::flush_of(int fd, const struct statx& status) {
    if (!is_read_) {
        read();
    }
    const bool has_id = (status.stx_mask & STATX_MNT_ID) != 0;
    std::string_view type;       // of the file's mount
    std::string_view same_type;  // of another mount of the same device
    bool others_serve = false;
    std::string_view rest = text_;
    while (!rest.empty()) {
        const auto mount = parse(take_until(rest, "\n"));
        others_serve = others_serve || is_served_by_others(mount.type);
        if (has_id && mount.id == status.stx_mnt_id) {
            type = mount.type;
        }
        if (mount.major == status.stx_dev_major && mount.minor == status.stx_dev_minor) {
            same_type = mount.type;
        }
    }
    if (type.empty()) {
        type = same_type;
    }
    if (text_.empty()) {  // without /proc
        const auto file_system = file_system_of(status_of(fd));
        const bool is_here = file_system == FileSystem::memory || is_local_disk(file_system);
        return is_here ? Flush::none : Flush::always;
    }
    if (type == "overlay" && !others_serve) {
        return Flush::none;
    }
    return flush_of_type(type);
}

bool may_flush(int fd, MountTable& mounts) noexcept {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0) {
        return false;
    }
    struct statx status{};
    constexpr int asks_no_server = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    if (statx(fd, "", asks_no_server, STATX_TYPE | STATX_MNT_ID, &status) != 0) {
        return true;
    }
    switch (status.stx_mode & S_IFMT) {
        case S_IFREG:
            try {
                return regular_file_may_flush(fd, status, mounts);
            } catch (const std::exception&) {
                return true;  // for lack of memory
            }
        case S_IFCHR:
            return status.stx_rdev_major == major_of_usb ||
                   status.stx_rdev_major == major_of_graphics;
        default:
            return false;
    }
}

}  // namespace engine
