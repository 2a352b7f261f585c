// SPDX-License-Identifier: Apache-2.0
#include "engine/file_status.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "engine/system_call_number.hpp"
#include "engine/time.hpp"

namespace engine {
namespace {

// --- statx(2)

// From <linux/stat.h>: flags of Linux 6.1 and 6.8, which some systems' headers lack.
constexpr unsigned statx_dioalign = 0x00002000U;
constexpr unsigned statx_mnt_id_unique = 0x00004000U;

// A field that the header may not have; its place is the same on every machine.
template <class Value>
Value field(const struct statx& status, std::size_t place) noexcept {
    Value value{};
    std::memcpy(&value, reinterpret_cast<const char*>(&status) + place, sizeof value);
    return value;
}
static_assert(sizeof(struct statx) == 0x100);

// A sandbox may lack statx(2).
FileStatus older_status_of(int fd) noexcept {
    struct stat status{};
    if (fstat(fd, &status) != 0) {
        return {.error = errno};
    }
    return {.type = status.st_mode & unsigned{S_IFMT},
            .identity = {.device = status.st_dev, .inode = status.st_ino},
            .size = static_cast<std::uint64_t>(status.st_size),
            .owner = status.st_uid};
}

// --- file systems

FileSystem file_system_of_magic(std::uint64_t magic) noexcept {
    constexpr std::uint64_t f2fs_magic = 0xf2f52010;
    constexpr std::uint64_t fuse_magic = 0x65735546;
    constexpr std::uint64_t xfs_magic = 0x58465342;
    constexpr std::uint64_t mqueue_magic = 0x19800202;  // mq_overview(7)
    switch (magic) {
        case TMPFS_MAGIC:
        case RAMFS_MAGIC:
        case HUGETLBFS_MAGIC:
        case mqueue_magic:
            return FileSystem::memory;
        case EXT4_SUPER_MAGIC:
            return FileSystem::ext4;
        case xfs_magic:
            return FileSystem::xfs;
        case BTRFS_SUPER_MAGIC:
            return FileSystem::btrfs;
        case f2fs_magic:
            return FileSystem::f2fs;
        case OVERLAYFS_SUPER_MAGIC:
            return FileSystem::overlay;
        case fuse_magic:
            return FileSystem::fuse;
        case NFS_SUPER_MAGIC:
            return FileSystem::nfs;
        case PROC_SUPER_MAGIC:
            return FileSystem::proc;
        default:
            return FileSystem::other;
    }
}

FileSystem file_system_of_name(std::string_view name) noexcept {
    struct Type {
        std::string_view name;
        FileSystem file_system;
    };
    static constexpr std::array<Type, 14> types{{{"tmpfs", FileSystem::memory},
                                                 {"mqueue", FileSystem::memory},
                                                 {"devtmpfs", FileSystem::memory},
                                                 {"ramfs", FileSystem::memory},
                                                 {"hugetlbfs", FileSystem::memory},
                                                 {"ext4", FileSystem::ext4},
                                                 {"ext3", FileSystem::ext4},
                                                 {"ext2", FileSystem::ext4},
                                                 {"xfs", FileSystem::xfs},
                                                 {"btrfs", FileSystem::btrfs},
                                                 {"f2fs", FileSystem::f2fs},
                                                 {"overlay", FileSystem::overlay},
                                                 {"nfs4", FileSystem::nfs},
                                                 {"proc", FileSystem::proc}}};
    const auto* found = std::ranges::find(types, name, &Type::name);
    if (found != types.end()) {
        return found->file_system;
    }
    if (name == "nfs") {
        return FileSystem::nfs;
    }
    return name.starts_with("fuse") ? FileSystem::fuse : FileSystem::other;
}

// --- by the mount: statmount(2), Linux 6.8, which asks the file system nothing

constexpr long statmount_number = number_of_new_call(457);

std::optional<FileSystem> ask_mount(std::uint64_t mount) noexcept {
    struct Question {
        std::uint32_t size = 24;
        std::uint32_t spare = 0;
        std::uint64_t mount = 0;
        std::uint64_t what = 1;  // STATMOUNT_SB_BASIC
    };
    struct Answer {
        std::uint32_t size;
        std::uint32_t spare;
        std::uint64_t what;
        std::uint32_t device_major;
        std::uint32_t device_minor;
        std::uint64_t magic;
        std::array<std::byte, 480> rest;
    };
    static_assert(offsetof(Answer, magic) == 24);
    const Question question{.mount = mount};
    Answer answer{};
    if (syscall(statmount_number, &question, &answer, sizeof answer, 0) != 0 ||
        (answer.what & 1U) == 0) {
        return std::nullopt;
    }
    return file_system_of_magic(answer.magic);
}

// The mounts asked about last, as mount << 8 | kind. The entries stay valid: a mount keeps its
// kind, and its unique number is never used again.
std::array<std::atomic<std::uint64_t>, 32> known_mounts{};
std::atomic<std::uint32_t> next_mount{0};

std::optional<FileSystem> find_mount(std::uint64_t mount) noexcept {
    for (const auto& known : known_mounts) {
        const auto entry = known.load(std::memory_order_relaxed);
        if (entry >> 8U == mount) {
            return static_cast<FileSystem>(entry & 0xffU);
        }
    }
    const auto found = ask_mount(mount);
    if (found) {
        const auto place = next_mount.fetch_add(1, std::memory_order_relaxed);
        known_mounts[place % known_mounts.size()].store(
            mount << 8U | static_cast<std::uint64_t>(*found), std::memory_order_relaxed);
    }
    return found;
}

// --- by the device: /proc/self/mountinfo

// A line is "36 35 98:0 /root /mountpoint options… - type source options".
FileSystem read_mountinfo(std::uint64_t device) noexcept {
    struct Close {
        void operator()(std::FILE* file) const noexcept { std::fclose(file); }
    };
    const std::unique_ptr<std::FILE, Close> file(std::fopen("/proc/self/mountinfo", "re"));
    std::array<char, 4096> line{};
    std::array<char, 64> wanted{};
    const auto length =
        std::snprintf(wanted.data(), wanted.size(), " %u:%u ", major(device), minor(device));
    while (file != nullptr && std::fgets(line.data(), line.size(), file.get()) != nullptr) {
        const std::string_view text(line.data());
        const auto found = text.find({wanted.data(), static_cast<std::size_t>(length)});
        const auto mark = text.find(" - ");
        if (found == std::string_view::npos || mark == std::string_view::npos || found > mark) {
            continue;
        }
        // the third word, not a part of a path
        if (std::ranges::count(text.substr(0, found), ' ') != 1) {
            continue;
        }
        const auto name = text.substr(mark + 3);
        return file_system_of_name(name.substr(0, name.find(' ')));
    }
    return FileSystem::unknown;
}

// The devices asked about last, as device << 32 | second << 8 | kind. Another device may get the
// number later, so the kernel is asked again after a second.
std::array<std::atomic<std::uint64_t>, 32> known_devices{};
std::atomic<std::uint32_t> next_device{0};

std::uint64_t this_second() noexcept {
    return static_cast<std::uint64_t>(coarse_now() / 1'000'000'000) & 0xffffffU;
}

}  // namespace

FileStatus status_of(int fd) noexcept {
    struct statx status{};
    constexpr unsigned what =
        STATX_TYPE | STATX_INO | STATX_SIZE | STATX_UID | statx_dioalign | statx_mnt_id_unique;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, what, &status) != 0) {
        // the C library answers EINVAL in place of a kernel that lacks it
        return errno == EBADF ? FileStatus{.error = EBADF} : older_status_of(fd);
    }
    FileStatus result{
        .type = status.stx_mode & unsigned{S_IFMT},
        .identity = {.device = makedev(status.stx_dev_major, status.stx_dev_minor),
                     .inode = status.stx_ino},
        .size = status.stx_size,
        .owner = status.stx_uid,
    };
    if ((status.stx_mask & statx_mnt_id_unique) != 0) {
        result.mount = field<std::uint64_t>(status, 0x90);
    }
    if ((status.stx_mask & statx_dioalign) != 0) {
        result.knows_alignment = true;
        result.memory_alignment = field<std::uint32_t>(status, 0x98);
        result.transfer_alignment = field<std::uint32_t>(status, 0x9c);
    }
    return result;
}

FileSystem file_system_of(const FileStatus& status) noexcept {
    if (status.error != 0) {
        return FileSystem::unknown;
    }
    const auto found = status.mount != 0 ? find_mount(status.mount) : std::nullopt;
    return found ? *found : file_system_of_device(status.identity.device);
}

FileSystem file_system_of_device(std::uint64_t device) noexcept {
    const auto second = this_second();
    const auto mark = device << 32U | second << 8U;
    for (const auto& known : known_devices) {
        const auto entry = known.load(std::memory_order_relaxed);
        if (entry != 0 && (entry & ~std::uint64_t{0xff}) == mark) {
            return static_cast<FileSystem>(entry & 0xffU);
        }
    }
    const auto found = read_mountinfo(device);
    const auto place = next_device.fetch_add(1, std::memory_order_relaxed);
    known_devices[place % known_devices.size()].store(mark | static_cast<std::uint64_t>(found),
                                                      std::memory_order_relaxed);
    return found;
}

bool may_have_server(int fd, const FileStatus& status) noexcept {
    const bool has_file_system =
        status.error == 0 && (status.type == S_IFREG || status.type == S_IFDIR);
    if (!has_file_system) {
        return false;
    }
    const auto file_system = file_system_of(status);
    return file_system != FileSystem::memory && !is_local_disk(file_system) &&
           fcntl(fd, F_GET_SEALS) < 0;
}

}  // namespace engine
