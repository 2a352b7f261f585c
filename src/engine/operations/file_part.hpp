// SPDX-License-Identifier: Apache-2.0
// A part of a file in one job: open, read, close.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "engine/call.hpp"

namespace engine {

class ReadPartCall final : public Call {
public:
    // A negative `offset` counts from the end of the file, and stands for its beginning where the
    // file is shorter. A negative `length`: all that follows.
    ReadPartCall(const char* path, std::int64_t offset, std::int64_t length) noexcept
        : path_(path), offset_(offset), length_(length) {}

    std::optional<std::int64_t> try_at_once() noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;  // bytes

    const char* data() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    struct Part {
        std::uint64_t offset;
        std::uint64_t length;
    };
    Part part_of(std::uint64_t file_size) const noexcept;
    bool grow(std::size_t capacity) noexcept;
    std::int64_t read_known(int fd, const Part& part) noexcept;
    std::int64_t read_unknown(int fd) noexcept;

    struct Free {
        void operator()(char* data) const noexcept { std::free(data); }
    };

    const char* const path_;
    const std::int64_t offset_;
    const std::int64_t length_;
    std::unique_ptr<char, Free> data_;
    std::size_t size_ = 0;
};

}  // namespace engine
