// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/file_part.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/local_mounts.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/operations/cached_read.hpp"
#include "engine/operations/stat.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

// The most bytes that are read in the submitting thread: to copy more takes too long.
constexpr std::size_t most_at_once = std::size_t{256} * 1024;

constexpr std::size_t most_in_one_read = std::size_t{1} << 30U;

}  // namespace

FilePart::Range FilePart::range_in(std::uint64_t file_size) const noexcept {
    Range range{};
    if (offset_ >= 0) {
        range.offset = std::min(static_cast<std::uint64_t>(offset_), file_size);
    } else {
        // unsigned, because -INT64_MIN does not fit into a signed number
        const auto from_end = std::uint64_t{0} - static_cast<std::uint64_t>(offset_);
        range.offset = file_size - std::min(from_end, file_size);
    }
    range.length = file_size - range.offset;
    if (length_ >= 0) {
        range.length = std::min(range.length, static_cast<std::uint64_t>(length_));
    }
    return range;
}

bool FilePart::grow(std::size_t capacity) noexcept {
    auto* grown = static_cast<char*>(std::realloc(data_.get(), capacity));
    if (grown == nullptr) {
        return false;
    }
    [[maybe_unused]] const auto* moved = data_.release();
    data_.reset(grown);
    return true;
}

// Reads only a cached file, whose size its status tells.
std::optional<std::int64_t> FilePart::read_at_once() noexcept {
    const auto found = find_cached(AT_FDCWD, path_, true);
    if (found.error != 0) {
        return -found.error;
    }
    if (found.status.stx_size == 0) {
        return std::nullopt;
    }
    const auto range = range_in(found.status.stx_size);
    if (range.length > most_at_once) {
        return std::nullopt;
    }
    const auto file = open_cached(found, AT_FDCWD, path_, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const auto wanted = static_cast<std::size_t>(range.length);
    if (!file.is_open() || !grow(std::max<std::size_t>(wanted, 1)) ||
        (wanted != 0 &&
         read_cached(file.get(), range.offset, wanted, data_.get(), wanted) != wanted)) {
        return std::nullopt;
    }
    size_ = wanted;
    return static_cast<std::int64_t>(wanted);
}

std::int64_t FilePart::read(Streams streams) noexcept {
    struct statx status{};
    if (streams == Streams::leave && find_status(AT_FDCWD, path_, 0, status) == 0 &&
        !S_ISREG(status.stx_mode) && !S_ISDIR(status.stx_mode)) {
        found_stream_ = true;
        return 0;
    }
    const auto file =
        open_uninterrupted([&] { return ::open(path_, O_RDONLY | O_CLOEXEC | O_NOCTTY); });
    if (!file.is_open()) {
        return -errno;
    }
    // asked again: the file may have been replaced since
    if (const auto result = find_status(file.get(), "", 0, status); result < 0) {
        return result;
    }
    LocalMounts::learn(file.get(), status);
    // files of /proc have no size
    return S_ISREG(status.stx_mode) && status.stx_size != 0
               ? read_known(file.get(), range_in(status.stx_size))
               : read_unknown(file.get());
}

std::int64_t FilePart::read_known(int fd, const Range& range) noexcept {
    const auto wanted = static_cast<std::size_t>(range.length);
    size_ = 0;
    if (wanted != range.length || !grow(std::max<std::size_t>(wanted, 1))) {
        return -ENOMEM;
    }
    while (size_ < wanted) {
        const auto offset = static_cast<off_t>(range.offset + size_);
        const auto count = std::min(wanted - size_, most_in_one_read);
        const auto result = result_of(pread(fd, data_.get() + size_, count, offset));
        if (result == 0) {
            break;  // the file was truncated meanwhile
        }
        if (result < 0 && result != -EINTR) {
            return result;
        }
        size_ += result > 0 ? static_cast<std::size_t>(result) : 0;
    }
    return static_cast<std::int64_t>(size_);
}

// Reads a file whose size the kernel does not tell, as in /proc: the whole file, then cuts the part
// out.
std::int64_t FilePart::read_unknown(int fd) noexcept {
    std::size_t capacity = 0;
    size_ = 0;
    for (;;) {
        if (size_ == capacity) {
            capacity += std::max<std::size_t>(capacity / 2, 4096);
            if (!grow(capacity)) {
                return -ENOMEM;
            }
        }
        const auto count = std::min(capacity - size_, most_in_one_read);
        const auto result = result_of(::read(fd, data_.get() + size_, count));
        if (result == 0) {
            break;
        }
        if (result < 0 && result != -EINTR) {
            return result;
        }
        size_ += result > 0 ? static_cast<std::size_t>(result) : 0;
    }
    const auto range = range_in(size_);
    const auto offset = static_cast<std::size_t>(range.offset);
    size_ = static_cast<std::size_t>(range.length);
    std::copy_n(data_.get() + offset, size_, data_.get());
    return static_cast<std::int64_t>(size_);
}

std::int64_t ReadPartsCall::run(const CallFiles& /*files*/) noexcept {
    for (auto& item : items()) {
        item.result = item.part.read(FilePart::Streams::leave);
    }
    return 0;
}

}  // namespace engine
