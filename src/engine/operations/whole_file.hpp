// SPDX-License-Identifier: Apache-2.0
// A whole file in one job: open, read to the end, close; or open, write, close.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "engine/call.hpp"

namespace engine {

class ReadFileCall final : public Call {
public:
    ReadFileCall(int dir_fd, const char* path) noexcept : dir_fd_(dir_fd), path_(path) {}

    std::optional<std::int64_t> try_at_once() noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;

    const char* data() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    bool grow(std::size_t capacity) noexcept;
    std::int64_t read_all(int fd, std::size_t expected) noexcept;

    struct Free {
        void operator()(char* data) const noexcept { std::free(data); }
    };

    const int dir_fd_;
    const char* const path_;
    std::unique_ptr<char, Free> data_;
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
};

class WriteFileCall final : public Call {
public:
    WriteFileCall(const char* path, int flags, mode_t mode, const char* data,
                  std::size_t size) noexcept
        : path_(path), flags_(flags), mode_(mode), data_(data), size_(size) {}

    std::int64_t run(const CallFiles& files) noexcept override;  // bytes

private:
    const char* const path_;
    const int flags_;
    const mode_t mode_;
    const char* const data_;
    const std::size_t size_;
};

}  // namespace engine
