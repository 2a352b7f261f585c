// SPDX-License-Identifier: Apache-2.0
#include "engine/alignment.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

#include "engine/file_system.hpp"

namespace engine {
namespace {

// Since Linux 6.1, newer than some systems' headers: from <linux/stat.h>.
constexpr unsigned statx_dioalign = 0x00002000U;

// struct statx as far as its direct I/O fields, whose place is the same on every machine.
struct StatxWithAlignment {
    struct statx known;

    std::uint32_t memory() const noexcept { return field(0x98); }
    std::uint32_t transfer() const noexcept { return field(0x9c); }

private:
    std::uint32_t field(std::size_t place) const noexcept {
        std::uint32_t value = 0;
        __builtin_memcpy(&value, reinterpret_cast<const char*>(&known) + place, sizeof value);
        return value;
    }
};
static_assert(sizeof(struct statx) == 0x100);

// Nothing is known: no device asks for more than this.
Alignment of_pages() noexcept {
    const auto page = static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE));
    return {.memory = page, .transfer = page};
}

Alignment of_block_device(int fd) noexcept {
    int size = 0;
    if (ioctl(fd, BLKSSZGET, &size) != 0 || size <= 0) {
        return of_pages();
    }
    const auto block = static_cast<std::uint32_t>(size);
    return {.memory = block, .transfer = block};
}

// The logical block size of the device that the file is on.
std::optional<Alignment> of_device_below(dev_t number) {
    const auto device = std::to_string(major(number)) + ":" + std::to_string(minor(number));
    // a partition has no queue of its own
    for (const auto* queue : {"/queue", "/../queue"}) {
        std::ifstream file("/sys/dev/block/" + device + queue + "/logical_block_size");
        std::uint32_t block = 0;
        if (file >> block && block != 0) {
            return Alignment{.memory = block, .transfer = block};
        }
    }
    return std::nullopt;
}

Alignment of_file_system(int fd) noexcept {
    struct statfs file_system{};
    if (fstatfs(fd, &file_system) == 0 &&
        takes_any_alignment(static_cast<std::uint32_t>(file_system.f_type))) {
        return {};
    }
    return of_pages();
}

}  // namespace

int find_alignment(int fd, Alignment& alignment) noexcept {
    StatxWithAlignment status{};
    // not every sandbox has it
    const bool is_known =
        statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | statx_dioalign, &status.known) == 0;
    if (is_known && (status.known.stx_mask & statx_dioalign) != 0) {
        // 0: not for this file, which the kernel then reads and writes through its cache
        alignment = status.transfer() == 0
                        ? Alignment{}
                        : Alignment{.memory = status.memory(), .transfer = status.transfer()};
        return 0;
    }
    struct stat older{};
    if (fstat(fd, &older) != 0) {
        return errno;
    }
    if (S_ISBLK(older.st_mode)) {
        alignment = of_block_device(fd);
        return 0;
    }
    try {
        const auto found = of_device_below(older.st_dev);
        alignment = found ? *found : of_file_system(fd);
    } catch (const std::bad_alloc&) {
        return ENOMEM;
    }
    return 0;
}

bool is_direct(int fd) noexcept {
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) != 0;
}

bool DirectFiles::is_direct(int fd) noexcept {
    if (fd != last_fd_) {
        last_fd_ = fd;
        last_answer_ = engine::is_direct(fd);
    }
    return last_answer_;
}

Range widen(Range range, std::uint32_t alignment) noexcept {
    const auto start = range.offset - range.offset % alignment;
    if (range.length == 0) {
        return {.offset = start, .length = 0};
    }
    auto length = range.offset - start + range.length;
    length += (alignment - length % alignment) % alignment;
    constexpr auto last_offset = static_cast<std::uint64_t>(INT64_MAX);
    length = std::min(length, (last_offset - start) / alignment * alignment);
    return {.offset = start, .length = static_cast<std::size_t>(length)};
}

}  // namespace engine
