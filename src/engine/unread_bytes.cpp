// SPDX-License-Identifier: Apache-2.0
#include "engine/unread_bytes.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <list>
#include <mutex>
#include <new>
#include <vector>

namespace engine {
namespace {

struct Entry {
    StreamKey key;
    std::vector<std::byte> bytes;
};

std::mutex mutex;  // for `entries`
std::list<Entry> entries;
std::atomic<pid_t> owner = 0;  // the process whose entries they are; a child does not get them

// Without the mutex, which a parent's thread may have held when this process was made.
bool has_any() noexcept {
    const auto process = owner.load(std::memory_order_acquire);
    return process != 0 && process == getpid();
}

// The memory of a read, or of its first `size` bytes.
template <typename Function>
void for_each_part(const OperationData& read, std::size_t size, Function function) {
    const iovec single{.iov_base = read.address, .iov_len = read.length};
    const auto parts = is_vectored(read.opcode)
                           ? std::span(static_cast<const iovec*>(read.address), read.length)
                           : std::span(&single, 1);
    for (const auto& part : parts) {
        const auto count = std::min(part.iov_len, size);
        function(std::span(static_cast<std::byte*>(part.iov_base), count));
        size -= count;
    }
}

std::list<Entry>::iterator find(const StreamKey& key) noexcept {
    return std::ranges::find(entries, key, &Entry::key);
}

}  // namespace

std::optional<StreamKey> stream_key_of(int fd) noexcept {
    struct statx status{};
    constexpr int asks_no_server = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    if (statx(fd, "", asks_no_server, STATX_TYPE | STATX_INO | STATX_CTIME | STATX_BTIME,
              &status) != 0) {
        return std::nullopt;
    }
    const auto type = status.stx_mode & unsigned{S_IFMT};
    if (type != S_IFIFO && type != S_IFCHR) {
        return std::nullopt;
    }
    StreamKey key{.device = makedev(status.stx_dev_major, status.stx_dev_minor),
                  .inode = status.stx_ino};
    if (type == S_IFCHR) {
        key.special = makedev(status.stx_rdev_major, status.stx_rdev_minor);
        key.made_at = status.stx_ctime.tv_sec;
        key.made_at_ns = status.stx_ctime.tv_nsec;
    } else if ((status.stx_mask & STATX_BTIME) != 0) {
        key.made_at = status.stx_btime.tv_sec;
        key.made_at_ns = status.stx_btime.tv_nsec;
    }
    return key;
}

void keep_unread(const StreamKey& key, std::span<const std::byte> bytes) noexcept {
    if (owner.load(std::memory_order_acquire) != 0 && !has_any()) {
        return;  // a child process, which may not be able to lock the mutex
    }
    try {
        const std::lock_guard lock(mutex);
        auto found = find(key);
        if (found == entries.end()) {
            found = entries.insert(entries.end(), {.key = key, .bytes = {}});
        }
        found->bytes.insert(found->bytes.end(), bytes.begin(), bytes.end());
        owner.store(getpid(), std::memory_order_release);
    } catch (const std::bad_alloc&) {
        return;
    }
}

void keep_unread(const StreamKey& key, const OperationData& read, std::int64_t result) noexcept {
    for_each_part(read, static_cast<std::size_t>(result),
                  [&](std::span<std::byte> part) { keep_unread(key, part); });
}

std::int64_t take_unread(const OperationData& read, int fd) noexcept {
    if (!has_any()) {
        return 0;
    }
    const auto key = stream_key_of(fd);
    if (!key) {
        return 0;
    }
    const std::lock_guard lock(mutex);
    const auto found = find(*key);
    if (found == entries.end()) {
        return 0;
    }
    auto& bytes = found->bytes;
    std::size_t taken = 0;
    for_each_part(read, bytes.size(), [&](std::span<std::byte> part) {
        std::memcpy(part.data(), bytes.data() + taken, part.size());
        taken += part.size();
    });
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    if (bytes.empty()) {
        entries.erase(found);
    }
    if (entries.empty()) {
        owner.store(0, std::memory_order_release);
    }
    return static_cast<std::int64_t>(taken);
}

bool has_unread(int fd) noexcept {
    if (!has_any()) {
        return false;
    }
    const auto key = stream_key_of(fd);
    const std::lock_guard lock(mutex);
    return key && find(*key) != entries.end();
}

}  // namespace engine
