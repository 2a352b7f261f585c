// SPDX-License-Identifier: Apache-2.0
#include "engine/unread_bytes.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "engine/clofork_fd.hpp"
#include "engine/eventfd_signal.hpp"
#include "engine/file_type.hpp"
#include "engine/per_process.hpp"

namespace engine {
namespace {

struct Entry {
    StreamKey key;
    std::vector<std::byte> bytes;
};

struct Kept {
    std::mutex mutex;  // for `entries`
    std::list<Entry> entries;
    std::vector<UnreadListener*> listeners;  // guarded by the mutex, too
    std::atomic<bool> has_any = false;
    std::atomic<bool> is_untold = false;  // the listeners are yet to be woken
};

// A child process does not have the bytes that its parent kept.
constinit PerProcess<Kept> kept_bytes;

// Null if nothing is kept. To find that out takes no system call.
Kept* kept_if_any() noexcept {
    auto* kept = kept_bytes.get_if_made();
    return kept != nullptr && kept->has_any.load(std::memory_order_acquire) ? kept : nullptr;
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

std::list<Entry>::iterator find(Kept& kept, const StreamKey& key) noexcept {
    return std::ranges::find(kept.entries, key, &Entry::key);
}

void append(Kept& kept, const StreamKey& key, std::span<const std::byte> bytes) {
    auto found = find(kept, key);
    if (found == kept.entries.end()) {
        found = kept.entries.insert(found, {.key = key, .bytes = {}});
    }
    found->bytes.insert(found->bytes.end(), bytes.begin(), bytes.end());
    kept.has_any.store(true, std::memory_order_release);
}

// Wakes the listeners. A thread with another table than the program's can't: there, the numbers of
// the listeners' eventfds may belong to any other file.
void tell(Kept& kept) noexcept {
    std::ranges::for_each(kept.listeners, &UnreadListener::note);
    if (CloforkFd::has_own_table()) {
        kept.is_untold.store(!kept.listeners.empty(), std::memory_order_release);
    } else {
        std::ranges::for_each(kept.listeners, &UnreadListener::wake);
    }
}

// Calls `add` with the lock held, then tells those who listen. Without memory the bytes are lost.
template <class Add>
void add_to_kept(Add add) noexcept {
    if (auto* kept = kept_bytes.get()) {
        try {
            const std::lock_guard lock(kept->mutex);
            add(*kept);
            tell(*kept);
        } catch (const std::bad_alloc&) {
            return;
        }
    }
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
    if ((type != S_IFIFO && type != S_IFCHR) ||
        is_terminal_master(type, status.stx_rdev_major, status.stx_rdev_minor)) {
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
    add_to_kept([&](Kept& kept) { append(kept, key, bytes); });
}

void keep_unread(const StreamKey& key, const OperationData& read, std::int64_t result) noexcept {
    add_to_kept([&](Kept& kept) {
        for_each_part(read, static_cast<std::size_t>(result),
                      [&](std::span<std::byte> part) { append(kept, key, part); });
    });
}

// Writes to the read's memory without the lock: a page of the memory may first have to be read from
// a disk or a server.
std::int64_t take_unread(const OperationData& read, int fd) noexcept {
    auto* kept = kept_if_any();
    if (kept == nullptr) {
        return 0;
    }
    const auto key = stream_key_of(fd);
    if (!key) {
        return 0;
    }
    std::vector<std::byte> all;
    std::array<std::byte, 4096> some;
    std::span<const std::byte> taken;
    {
        const std::lock_guard lock(kept->mutex);
        const auto found = find(*kept, *key);
        if (found == kept->entries.end()) {
            return 0;
        }
        auto& bytes = found->bytes;
        if (const auto wanted = size_of(read); wanted < bytes.size()) {
            const auto count = std::min(wanted, some.size());
            const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(count);
            std::copy(bytes.begin(), end, some.begin());
            bytes.erase(bytes.begin(), end);
            taken = std::span(some).first(count);
        } else {
            all = std::move(bytes);
            kept->entries.erase(found);
            taken = all;
        }
        kept->has_any.store(!kept->entries.empty(), std::memory_order_release);
    }
    std::size_t done = 0;
    for_each_part(read, taken.size(), [&](std::span<std::byte> part) {
        std::ranges::copy(taken.subspan(done, part.size()), part.begin());
        done += part.size();
    });
    return static_cast<std::int64_t>(done);
}

bool has_unread(int fd) noexcept {
    auto* kept = kept_if_any();
    if (kept == nullptr) {
        return false;
    }
    const auto key = stream_key_of(fd);
    const std::lock_guard lock(kept->mutex);
    return key && find(*kept, *key) != kept->entries.end();
}

void tell_of_unread() noexcept {
    auto* kept = kept_bytes.get_if_made();
    if (kept != nullptr && kept->is_untold.exchange(false, std::memory_order_acq_rel)) {
        const std::lock_guard lock(kept->mutex);
        tell(*kept);
    }
}

// If there is no memory to register the listener, reads that already wait are not told.
UnreadListener::UnreadListener(const std::atomic<int>& wake_number) noexcept
    : wake_number_(wake_number) {
    if (auto* kept = kept_bytes.get()) {
        try {
            const std::lock_guard lock(kept->mutex);
            kept->listeners.push_back(this);
        } catch (const std::bad_alloc&) {
            return;
        }
    }
}

UnreadListener::~UnreadListener() {
    if (auto* kept = kept_bytes.get_if_made()) {
        const std::lock_guard lock(kept->mutex);
        std::erase(kept->listeners, this);
    }
}

void UnreadListener::wake() noexcept { signal_eventfd(wake_number_.load()); }

}  // namespace engine
