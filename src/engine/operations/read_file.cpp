// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/read_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "engine/aligned_memory.hpp"
#include "engine/alignment.hpp"
#include "engine/file_status.hpp"
#include "engine/local_mounts.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/operations/stat.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/page_cache.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

// What is larger would take the event loop's thread too long to copy.
constexpr std::size_t most_without_memory = std::size_t{256} * 1024;

// So much is read before the next look whether the call was cancelled.
constexpr std::size_t most_in_one_read = std::size_t{8} << 20U;
constexpr std::size_t most_in_one_direct_read = std::size_t{4} << 20U;

// Files of /proc and /sys say that they are empty.
constexpr std::size_t least_memory = 4096;

// A cached file's: without waiting. Returns a count or a negative errno.
std::int64_t read_without_waiting(int fd, const iovec& part, InMemory cached) noexcept {
    const auto result = result_of(preadv2(fd, &part, 1, 0, RWF_NOWAIT));
    if (result != -EOPNOTSUPP || cached != InMemory::yes) {
        return result;
    }
    // File systems in memory refuse the flag, and never wait for a page that is there.
    return file_system_of(status_of(fd)) == FileSystem::memory ? result_of(preadv(fd, &part, 1, 0))
                                                               : result;
}

}  // namespace

bool ReadFileCall::is_too_large(std::uint64_t size) const noexcept {
    return memory_.data == nullptr && size > most_without_memory;
}

std::int64_t ReadFileCall::leave_large(std::uint64_t size) noexcept {
    found_ = Found::large;
    return static_cast<std::int64_t>(size);
}

std::int64_t ReadFileCall::leave_stream() noexcept {
    found_ = Found::stream;
    return 0;
}

std::optional<std::int64_t> ReadFileCall::try_at_once() noexcept {
    if (memory_.data != nullptr) {
        return std::nullopt;
    }
    const auto found = find_cached(dir_fd_, path_, true);
    if (found.error != 0) {
        return -found.error;
    }
    const auto size = found.status.stx_size;
    if (!found.file.is_open() || !S_ISREG(found.status.stx_mode) || found.status.stx_nlink == 0) {
        return std::nullopt;
    }
    if (is_too_large(size)) {
        return leave_large(size);
    }
    if (is_direct_) {
        return std::nullopt;
    }
    std::array<char, 40> name;
    std::snprintf(name.data(), name.size(), "/proc/thread-self/fd/%d", found.file.get());
    const UniqueFd file(::open(name.data(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.is_open()) {
        return std::nullopt;
    }
    const auto result = read_cached(file.get(), size);
    return result >= 0 ? std::optional(result) : std::nullopt;
}

// Returns how many bytes the file has; negative if that can't be told without waiting.
std::int64_t ReadFileCall::read_cached(int fd, std::uint64_t size) noexcept {
    FileStatus status;
    const auto wanted = static_cast<std::size_t>(size);
    auto cached = InMemory::yes;
    if (size != 0) {
        cached = is_cached(fd, 0, wanted, status);
        if (cached == InMemory::unknown) {
            // a read that is told not to wait waits for the place of the data all the same
            status = status_of(fd);
            const bool may_wait = file_system_of(status) == FileSystem::ext4 &&
                                  are_extents_known(fd, status, 0, wanted) != InMemory::yes;
            cached = may_wait ? InMemory::no : cached;
        }
    }
    // one byte more: a file that has grown meanwhile is left to a thread that may wait
    if (cached == InMemory::no || !grow_rest(wanted + 1)) {
        return -EAGAIN;
    }
    const iovec part{.iov_base = rest_.get(), .iov_len = rest_capacity_};
    const auto result =
        size != 0 ? read_without_waiting(fd, part, cached) : result_of(preadv(fd, &part, 1, 0));
    if (result < 0 || static_cast<std::uint64_t>(result) != size) {
        return -EAGAIN;
    }
    rest_size_ = wanted;
    return result;
}

// Only a regular file is opened here: to open a FIFO or a device may wait, and takes effect.
std::int64_t ReadFileCall::run(const CallFiles& files) noexcept {
    struct statx status{};
    if (*path_ == '\0') {
        return -ENOENT;
    }
    if (const auto result = find_status(files.first, path_, 0, status); result < 0) {
        return result;
    }
    if (!S_ISREG(status.stx_mode) && !S_ISDIR(status.stx_mode)) {
        return leave_stream();
    }
    UniqueFd file;
    const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (is_direct_ ? O_DIRECT : 0);
    do {
        file = UniqueFd(openat(files.first, path_, flags));
    } while (!file.is_open() && errno == EINTR);
    if (!file.is_open()) {
        return -errno;
    }
    if (S_ISDIR(status.stx_mode)) {
        return -EISDIR;
    }
    if (!LocalMounts::is_local(status) && find_status(file.get(), "", 0, status) == 0) {
        LocalMounts::learn(file.get(), status);
    }
    const auto size = status.stx_size;
    if (is_too_large(size)) {
        return leave_large(size);
    }
    filled_ = 0;
    rest_size_ = 0;
    if (memory_.data == nullptr &&
        !grow_rest(std::max(static_cast<std::size_t>(size) + 1, least_memory))) {
        return -ENOMEM;
    }
    return is_direct_ ? read_directly(file.get(), files) : read_to_end(file.get(), files);
}

bool ReadFileCall::grow_rest(std::size_t capacity) noexcept {
    auto* grown = static_cast<char*>(std::realloc(rest_.get(), capacity));
    if (grown == nullptr) {
        return false;
    }
    [[maybe_unused]] const auto* moved = rest_.release();
    rest_.reset(grown);
    rest_capacity_ = capacity;
    return true;
}

// Where the next bytes go. Empty if there is no memory.
ReadFileCall::Memory ReadFileCall::next_memory() noexcept {
    if (filled_ < memory_.size) {
        return {.data = memory_.data + filled_, .size = memory_.size - filled_};
    }
    if (rest_size_ == rest_capacity_ &&
        !grow_rest(std::max(rest_capacity_ + rest_capacity_ / 2, least_memory))) {
        return {};
    }
    return {.data = rest_.get() + rest_size_, .size = rest_capacity_ - rest_size_};
}

void ReadFileCall::add(std::size_t count) noexcept {
    (filled_ < memory_.size ? filled_ : rest_size_) += count;
}

std::int64_t ReadFileCall::read_to_end(int fd, const CallFiles& files) noexcept {
    for (;;) {
        const auto memory = next_memory();
        if (memory.data == nullptr) {
            return -ENOMEM;
        }
        if (files.is_cancelled()) {
            return -ECANCELED;
        }
        const auto result =
            result_of(::read(fd, memory.data, std::min(memory.size, most_in_one_read)));
        if (result == -EINTR) {
            continue;
        }
        if (result <= 0) {
            return result < 0 ? result : total();
        }
        add(static_cast<std::size_t>(result));
    }
}

// By way of aligned memory.
std::int64_t ReadFileCall::read_directly(int fd, const CallFiles& files) noexcept {
    Alignment alignment;
    if (const int error = find_alignment(fd, alignment); error != 0) {
        return -error;
    }
    const auto expected = std::max(memory_.size, rest_capacity_);
    const auto unit = std::max<std::size_t>({alignment.memory, alignment.transfer, 4096});
    const auto chunk = std::min(most_in_one_direct_read, (expected / unit + 1) * unit);
    const AlignedMemory aligned(chunk, unit);
    if (aligned.data() == nullptr) {
        return -ENOMEM;
    }
    for (;;) {
        if (files.is_cancelled()) {
            return -ECANCELED;
        }
        const auto result = result_of(pread(fd, aligned.data(), chunk, total()));
        if (result == -EINTR) {
            continue;
        }
        if (result < 0) {
            return result;
        }
        const auto count = static_cast<std::size_t>(result);
        for (std::size_t done = 0; done < count;) {
            const auto memory = next_memory();
            if (memory.data == nullptr) {
                return -ENOMEM;
            }
            const auto length = std::min(memory.size, count - done);
            std::memcpy(memory.data, aligned.data() + done, length);
            add(length);
            done += length;
        }
        // where the length is no multiple, the file ends
        if (count == 0 || count % alignment.transfer != 0) {
            return total();
        }
    }
}

}  // namespace engine
