// SPDX-License-Identifier: Apache-2.0
#include "bulk/source_file.hpp"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "engine/file_status.hpp"

namespace bulk {
namespace {

// The file systems whose servers copy files. The numbers are from <linux/magic.h> and the kernel's
// sources.
constexpr std::uint32_t nfs_magic = 0x6969;
constexpr std::uint32_t fuse_magic = 0x65735546;
constexpr std::uint32_t cifs_magic = 0xff534d42;
constexpr std::uint32_t smb2_magic = 0xfe534d42;
constexpr std::uint32_t ceph_magic = 0x00c36400;

constexpr std::uint32_t sysfs_magic = 0x62656572;
constexpr std::uint32_t configfs_magic = 0x62656570;

// A line of /proc/locks:
// "1: POSIX  ADVISORY  WRITE 1234 fd:01:5678 0 EOF", or "1: -> POSIX ..." for a lock that a process
// waits for. The device numbers are not compared: some file systems have others in stat(2).
bool is_lock_of(const char* line, long process, unsigned long long inode) noexcept {
    long holder = 0;
    unsigned long long number = 0;
    return std::sscanf(line, "%*[^:]: POSIX %*s %*s %ld %*x:%*x:%llu", &holder, &number) == 2 &&
           holder == process && number == inode;
}

// Of a file whose size is that of a page, whatever its contents: those of sysfs and configfs.
bool has_size_of_page(int fd) noexcept {
    struct statfs status{};
    if (fstatfs(fd, &status) != 0) {
        return false;
    }
    const auto magic = static_cast<std::uint32_t>(status.f_type);
    return magic == sysfs_magic || magic == configfs_magic;
}

}  // namespace

std::uint64_t size_of_file(int fd) noexcept {
    struct stat status{};
    if (fstat(fd, &status) != 0) {
        return 0;
    }
    std::uint64_t size = 0;
    if (S_ISREG(status.st_mode)) {
        const auto known = std::max<off_t>(status.st_size, 0);
        size = known != 0 && has_size_of_page(fd) ? 0 : static_cast<std::uint64_t>(known);
    } else if (S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, &size) != 0) {
        size = 0;
    }
    return size;
}

bool gains_by_direct(int fd) noexcept {
    struct stat status{};
    if (fstat(fd, &status) != 0) {
        return false;
    }
    if (S_ISBLK(status.st_mode)) {
        return true;
    }
    if (!S_ISREG(status.st_mode)) {
        return false;
    }
    const auto file_system = engine::file_system_of(engine::status_of(fd));
    return engine::is_local_disk(file_system) || file_system == engine::FileSystem::overlay;
}

bool copies_by_itself(int fd) noexcept {
    struct statfs file_system{};
    if (fstatfs(fd, &file_system) != 0) {
        return false;
    }
    const auto type = static_cast<std::uint32_t>(file_system.f_type);
    constexpr std::array<std::uint32_t, 5> able{nfs_magic, fuse_magic, cifs_magic, smb2_magic,
                                                ceph_magic};
    return std::ranges::find(able, type) != able.end();
}

bool holds_record_locks(int fd) noexcept {
    struct stat status{};
    auto* const locks = std::fopen("/proc/locks", "re");
    if (locks == nullptr || fstat(fd, &status) != 0) {
        if (locks != nullptr) {
            std::fclose(locks);
        }
        return true;
    }
    bool found = false;
    char* line = nullptr;
    std::size_t size = 0;
    while (!found && getline(&line, &size, locks) > 0) {
        found = is_lock_of(line, getpid(), status.st_ino);
    }
    std::free(line);
    std::fclose(locks);
    return found;
}

}  // namespace bulk
