// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/read_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "engine/aligned_memory.hpp"
#include "engine/alignment.hpp"
#include "engine/local_mounts.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/operations/cached_read.hpp"
#include "engine/operations/stat.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

// The size of the largest file that is read without given memory: a larger one would take the event
// loop's thread too long to copy.
constexpr std::size_t most_without_memory = std::size_t{256} * 1024;

// After so many bytes, the call checks whether it was cancelled.
constexpr std::size_t most_in_one_read = std::size_t{8} << 20U;
constexpr std::size_t most_in_one_direct_read = std::size_t{4} << 20U;

// The least memory for a read, because files of /proc and /sys have a size of 0.
constexpr std::size_t least_memory = 4096;

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
    const auto file = open_cached(found, dir_fd_, path_, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (!file.is_open()) {
        return std::nullopt;
    }
    const auto result = read_at_once(file.get(), size);
    return result >= 0 ? std::optional(result) : std::nullopt;
}

// Returns how many bytes the file has; negative if that can't be told without waiting.
std::int64_t ReadFileCall::read_at_once(int fd, std::uint64_t size) noexcept {
    const auto wanted = static_cast<std::size_t>(size);
    // One byte more than the size is read: if it comes, the file has grown, and is left to a thread
    // that may wait.
    if (!grow_rest(wanted + 1)) {
        return -EAGAIN;
    }
    std::optional<std::size_t> count;
    if (size != 0) {
        count = read_cached(fd, 0, wanted, rest_.get(), rest_capacity_);
    } else if (const auto result = result_of(pread(fd, rest_.get(), rest_capacity_, 0));
               result >= 0) {
        count = static_cast<std::size_t>(result);
    }
    if (count != wanted) {
        return -EAGAIN;
    }
    rest_size_ = wanted;
    return static_cast<std::int64_t>(wanted);
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
    const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (is_direct_ ? O_DIRECT : 0);
    const auto file = open_uninterrupted([&] { return openat(files.first, path_, flags); });
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

// Returns the memory for the next bytes. Empty if there is none.
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

// Reads with O_DIRECT, by way of aligned memory.
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
        // a direct read returns what is no multiple of the alignment only at the end of the file
        if (count == 0 || count % alignment.transfer != 0) {
            return total();
        }
    }
}

}  // namespace engine
