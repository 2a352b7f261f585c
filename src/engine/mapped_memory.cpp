// SPDX-License-Identifier: Apache-2.0
#include "engine/mapped_memory.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <span>

#include "engine/file_status.hpp"
#include "engine/time.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

struct Mapping {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;  // 0: no file
};

// --- asking for one mapping: Linux 6.11

// struct procmap_query of <linux/fs.h>.
struct Question {
    std::uint64_t size;
    std::uint64_t flags;
    std::uint64_t address;
    std::uint64_t start;
    std::uint64_t end;
    std::uint64_t permissions;
    std::uint64_t page_size;
    std::uint64_t offset;
    std::uint64_t inode;
    std::uint32_t device_major;
    std::uint32_t device_minor;
    std::uint32_t name_size;
    std::uint32_t build_id_size;
    std::uint64_t name;
    std::uint64_t build_id;
};
static_assert(sizeof(Question) == 104);

std::optional<Mapping> ask(int maps, std::uint64_t address) noexcept {
    constexpr unsigned long procmap_query = _IOWR('f', 17, Question);
    Question question{};
    question.size = sizeof question;
    question.address = address;
    if (ioctl(maps, procmap_query, &question) != 0) {
        return std::nullopt;
    }
    return Mapping{.start = question.start,
                   .end = question.end,
                   .device = makedev(question.device_major, question.device_minor),
                   .inode = question.inode};
}

// --- reading them all

struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};

// A line is "7f00-7f10 r--p 00000000 08:01 1234 /path".
std::optional<Mapping> search(std::uint64_t address) noexcept {
    const std::unique_ptr<std::FILE, Close> file(std::fopen("/proc/self/maps", "re"));
    std::array<char, 512> line{};
    bool is_start = true;
    while (file != nullptr && std::fgets(line.data(), line.size(), file.get()) != nullptr) {
        const bool is_first_part = is_start;
        is_start = std::strchr(line.data(), '\n') != nullptr;
        unsigned long long start = 0;
        unsigned long long end = 0;
        unsigned device_major = 0;
        unsigned device_minor = 0;
        unsigned long long inode = 0;
        if (is_first_part &&
            std::sscanf(line.data(), "%llx-%llx %*s %*s %x:%x %llu", &start, &end, &device_major,
                        &device_minor, &inode) == 5 &&
            start <= address && address < end) {
            return Mapping{.start = start,
                           .end = end,
                           .device = makedev(device_major, device_minor),
                           .inode = inode};
        }
    }
    return std::nullopt;
}

// --- files in memory that have no mount

// The device of memfd_create(2) and of shared anonymous memory; 0 if it can't be found out.
std::uint64_t device_of_shared_memory() noexcept {
    static std::atomic<std::uint64_t> known{0};
    auto device = known.load(std::memory_order_relaxed);
    if (device == 0) {
        const UniqueFd fd(memfd_create("linux_aio", MFD_CLOEXEC));
        if (fd.is_open()) {
            device = status_of(fd.get()).identity.device;
            known.store(device, std::memory_order_relaxed);
        }
    }
    return device;
}

bool may_wait(const Mapping& mapping) noexcept {
    return mapping.inode != 0 && mapping.device != device_of_shared_memory() &&
           file_system_of_device(mapping.device) != FileSystem::memory;
}

// --- what was found last

struct Known {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::int64_t asked_at = 0;  // ns
    bool may_wait = false;
};

}  // namespace

bool is_mapped_from_disk(const void* address, std::size_t length) noexcept {
    constexpr std::int64_t lifetime = 100'000'000;  // ns
    constexpr int most_mappings = 16;
    static thread_local Known last;
    const auto start = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(address));
    if (length == 0) {
        return false;
    }
    if (last.start <= start && start + length <= last.end &&
        coarse_now() - last.asked_at < lifetime) {
        return last.may_wait;
    }
    const UniqueFd maps(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
    if (!maps.is_open()) {
        return true;
    }
    auto at = start;
    for (int i = 0; i < most_mappings && at < start + length; ++i) {
        auto mapping = ask(maps.get(), at);
        const bool is_old_kernel = !mapping && errno == ENOTTY;
        if (is_old_kernel) {
            mapping = search(at);
        }
        if (!mapping) {
            return false;
        }
        const bool waits = may_wait(*mapping);
        if (waits || is_old_kernel) {
            last = {.start = mapping->start,
                    .end = mapping->end,
                    .asked_at = coarse_now(),
                    .may_wait = waits};
        }
        if (waits) {
            return true;
        }
        at = mapping->end;
    }
    return at < start + length;  // in the mappings that were not looked at
}

void bring_in(const OperationData& transfer) noexcept {
    constexpr std::size_t most = std::size_t{4} << 20U;
    // madvise(2), Linux 5.14: MADV_POPULATE_READ and MADV_POPULATE_WRITE
    const int advice = is_read(transfer.opcode) ? 23 : 22;
    const iovec single{.iov_base = transfer.address, .iov_len = transfer.length};
    const auto parts = is_vectored(transfer.opcode)
                           ? std::span(static_cast<const iovec*>(transfer.address), transfer.length)
                           : std::span(&single, 1);
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    auto left = most;
    for (const auto& part : parts) {
        const auto length = std::min(part.iov_len, left);
        const auto start = reinterpret_cast<std::uintptr_t>(part.iov_base);
        const auto first = start / page * page;
        if (length != 0) {
            madvise(reinterpret_cast<void*>(first), start + length - first, advice);
        }
        left -= length;
    }
}

}  // namespace engine
