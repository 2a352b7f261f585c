// SPDX-License-Identifier: Apache-2.0
// Reads parts of files, each in one job: open, read, close.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <span>

#include "engine/call.hpp"

namespace engine {

// A part of a file, and the bytes that were read of it.
class FilePart {
public:
    // A negative `offset` counts from the end of the file; if the file is shorter than that, the
    // part starts at its beginning. With a negative `length` the part goes to the end of the file.
    FilePart() = default;
    FilePart(const char* path, std::int64_t offset, std::int64_t length) noexcept
        : path_(path), offset_(offset), length_(length) {}

    // Whether a FIFO or a device, which may have to be waited for, is read or left.
    enum class Streams : bool { leave, read };

    // Read the part. Return the number of bytes, or a negative errno. read_at_once() does not wait:
    // it returns no value if it would have to. Of a stream that is left, read() returns 0.
    std::optional<std::int64_t> read_at_once() noexcept;
    std::int64_t read(Streams streams) noexcept;
    bool found_stream() const noexcept { return found_stream_; }

    const char* path() const noexcept { return path_; }
    const char* data() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    struct Range {
        std::uint64_t offset;
        std::uint64_t length;
    };
    Range range_in(std::uint64_t file_size) const noexcept;
    bool grow(std::size_t capacity) noexcept;
    std::int64_t read_known(int fd, const Range& range) noexcept;
    std::int64_t read_unknown(int fd) noexcept;

    struct Free {
        void operator()(char* data) const noexcept { std::free(data); }
    };

    const char* path_ = "";
    std::int64_t offset_ = 0;
    std::int64_t length_ = -1;
    std::unique_ptr<char, Free> data_;
    std::size_t size_ = 0;
    bool found_stream_ = false;  // which was left
};

class ReadPartCall final : public Call {
public:
    using Streams = FilePart::Streams;

    ReadPartCall(const char* path, std::int64_t offset, std::int64_t length,
                 Streams streams) noexcept
        : part_(path, offset, length), streams_(streams) {}

    Paths paths() const noexcept override { return {.first = part_.path()}; }
    std::optional<std::int64_t> try_at_once() noexcept override { return part_.read_at_once(); }
    std::int64_t run(const CallFiles& /*files*/) noexcept override { return part_.read(streams_); }

    const FilePart& part() const noexcept { return part_; }

private:
    FilePart part_;
    const Streams streams_;
};

// Reads parts of any number of files, one after the other in one job.
class ReadPartsCall final : public Call {
public:
    struct Item {
        FilePart part;
        std::int64_t result = 0;  // bytes, or a negative errno
    };

    // There are no items if there is no memory for them.
    explicit ReadPartsCall(std::size_t count) noexcept
        : items_(new (std::nothrow) Item[count]), count_(items_ != nullptr ? count : 0) {}

    Paths paths() const noexcept override {  // only of the first file
        return {.first = count_ != 0 ? items_[0].part.path() : nullptr};
    }
    std::int64_t run(const CallFiles& files) noexcept override;  // 0

    std::span<Item> items() noexcept { return {items_.get(), count_}; }

private:
    const std::unique_ptr<Item[]> items_;
    const std::size_t count_;
};

}  // namespace engine
