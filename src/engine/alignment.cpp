// SPDX-License-Identifier: Apache-2.0
#include "engine/alignment.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

#include "engine/file_status.hpp"

namespace engine {
namespace {

// The alignment where nothing is known: whole pages. No device asks for more.
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
std::optional<Alignment> of_device_below(std::uint64_t number) {
    if (major(number) == 0) {
        return std::nullopt;  // no block device
    }
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

}  // namespace

int find_alignment(int fd, Alignment& alignment) noexcept {
    const auto status = status_of(fd);
    if (status.error != 0) {
        return status.error;
    }
    if (status.knows_alignment) {
        // 0: the kernel reads and writes this file through its cache, and needs no alignment
        alignment = status.transfer_alignment == 0
                        ? Alignment{}
                        : Alignment{.memory = status.memory_alignment,
                                    .transfer = status.transfer_alignment};
        return 0;
    }
    if (status.type == S_IFBLK) {
        alignment = of_block_device(fd);
        return 0;
    }
    try {
        if (const auto found = of_device_below(status.identity.device)) {
            alignment = *found;
            return 0;
        }
    } catch (const std::bad_alloc&) {
        return ENOMEM;
    }
    // F_GET_SEALS: memory that has no mount, as of memfd_create(2)
    const bool takes_any =
        takes_any_alignment(file_system_of(status)) || fcntl(fd, F_GET_SEALS) >= 0;
    alignment = takes_any ? Alignment{} : of_pages();
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
        has_server_.reset();
    }
    return last_answer_;
}

bool DirectFiles::is_direct_with_server(int fd) noexcept {
    if (!is_direct(fd)) {
        return false;
    }
    if (!has_server_) {
        has_server_ = may_have_server(fd, status_of(fd));
    }
    return *has_server_;
}

std::size_t clip_to_file(int fd, Range range, std::uint32_t alignment) noexcept {
    constexpr std::size_t small = std::size_t{1} << 20U;
    if (range.length <= small) {
        return range.length;
    }
    const auto status = status_of(fd);
    if (status.type != S_IFREG || !is_local_disk(file_system_of(status))) {
        return range.length;
    }
    const auto left = status.size > range.offset ? status.size - range.offset : 0;
    const auto rounded = (left / alignment + 1) * alignment;  // one more: it may just grow
    return static_cast<std::size_t>(std::min<std::uint64_t>(rounded, range.length));
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
