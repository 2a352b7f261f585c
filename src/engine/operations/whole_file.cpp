// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/whole_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "engine/local_mounts.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

// What is larger would take the loop's thread too long to copy.
constexpr std::size_t most_at_once = std::size_t{256} * 1024;

constexpr std::size_t most_in_one_read = std::size_t{1} << 30U;

}  // namespace

bool ReadFileCall::grow(std::size_t capacity) noexcept {
    auto* grown = static_cast<char*>(std::realloc(data_.get(), capacity));
    if (grown == nullptr) {
        return false;
    }
    [[maybe_unused]] const auto* moved = data_.release();
    data_.reset(grown);
    capacity_ = capacity;
    return true;
}

// Of a cached file, whose end is where its status says.
std::optional<std::int64_t> ReadFileCall::try_at_once() noexcept {
    const auto found = find_cached(dir_fd_, path_, true);
    if (found.error != 0) {
        return -found.error;
    }
    const auto size = found.status.stx_size;
    if (!found.file.is_open() || !S_ISREG(found.status.stx_mode) || size > most_at_once ||
        found.status.stx_nlink == 0) {
        return std::nullopt;
    }
    std::array<char, 40> name;
    std::snprintf(name.data(), name.size(), "/proc/thread-self/fd/%d", found.file.get());
    const UniqueFd file(::open(name.data(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.is_open() || !grow(static_cast<std::size_t>(size) + 1)) {
        return std::nullopt;
    }
    // one byte more: a file that has grown meanwhile is read by a thread that may wait
    const iovec part{.iov_base = data_.get(), .iov_len = capacity_};
    const auto result = preadv2(file.get(), &part, 1, 0, size != 0 ? RWF_NOWAIT : 0);
    if (result < 0 || static_cast<std::uint64_t>(result) != size) {
        return std::nullopt;
    }
    size_ = static_cast<std::size_t>(result);
    return result;
}

std::int64_t ReadFileCall::run(const CallFiles& files) noexcept {
    UniqueFd file;
    do {
        file = UniqueFd(openat(files.first, path_, O_RDONLY | O_CLOEXEC));
    } while (!file.is_open() && errno == EINTR);
    if (!file.is_open()) {
        return -errno;
    }
    struct statx status{};
    std::size_t expected = 0;
    if (statx(file.get(), "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE | LocalMounts::mask,
              &status) == 0) {
        LocalMounts::learn(file.get(), status);
        expected = S_ISREG(status.stx_mode) ? static_cast<std::size_t>(status.stx_size) : 0;
    }
    return read_all(file.get(), expected);
}

std::int64_t ReadFileCall::read_all(int fd, std::size_t expected) noexcept {
    constexpr std::size_t least = 4096;
    size_ = 0;
    if (!grow(std::max(expected + 1, least))) {
        return -ENOMEM;
    }
    for (;;) {
        if (size_ == capacity_ && !grow(capacity_ + capacity_ / 2)) {
            return -ENOMEM;
        }
        const auto wanted = std::min(capacity_ - size_, most_in_one_read);
        const auto result = result_of(::read(fd, data_.get() + size_, wanted));
        if (result == -EINTR) {
            continue;
        }
        if (result <= 0) {
            return result < 0 ? result : static_cast<std::int64_t>(size_);
        }
        size_ += static_cast<std::size_t>(result);
    }
}

std::int64_t WriteFileCall::run(const CallFiles& files) noexcept {
    UniqueFd file;
    do {
        file = UniqueFd(openat(files.first, path_, flags_ | O_CLOEXEC, mode_));
    } while (!file.is_open() && errno == EINTR);
    if (!file.is_open()) {
        return -errno;
    }
    std::size_t written = 0;
    while (written < size_) {
        const auto wanted = std::min(size_ - written, most_in_one_read);
        const auto result = result_of(::write(file.get(), data_ + written, wanted));
        if (result < 0 && result != -EINTR) {
            return result;
        }
        written += result > 0 ? static_cast<std::size_t>(result) : 0;
    }
    // an error of a write that was put off
    if (::close(file.release()) != 0 && errno != EINTR) {
        return -errno;
    }
    return static_cast<std::int64_t>(written);
}

}  // namespace engine
