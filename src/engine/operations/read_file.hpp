// SPDX-License-Identifier: Apache-2.0
// Reads a whole regular file in one job: open, find its size, read to the end, close.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "engine/call.hpp"

namespace engine {

class ReadFileCall final : public Call {
public:
    struct Memory {
        char* data = nullptr;
        std::size_t size = 0;
    };

    // The call fills `memory` first, and then memory that it allocates. If no memory is given, it
    // reads only a small file. `is_direct`: reads past the page cache, by O_DIRECT.
    ReadFileCall(int dir_fd, const char* path, Memory memory, bool is_direct) noexcept
        : dir_fd_(dir_fd), path_(path), memory_(memory), is_direct_(is_direct) {}

    // The result of the call is a number of bytes; found() tells which.
    Paths paths() const noexcept override { return {.first = path_}; }
    std::optional<std::int64_t> try_at_once() noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;

    enum class Found : std::uint8_t {
        all,    // the file was read: the result is the number of bytes read
        large,  // nothing was read, because memory is needed: the result is the file's size
        stream  // the path is no regular file, and was not opened
    };
    Found found() const noexcept { return found_; }

    // How many bytes of the given memory are filled, and the bytes that did not fit there.
    std::size_t filled() const noexcept { return filled_; }
    const char* rest() const noexcept { return rest_.get(); }
    std::size_t rest_size() const noexcept { return rest_size_; }

private:
    struct Free {
        void operator()(char* data) const noexcept { std::free(data); }
    };

    bool is_too_large(std::uint64_t size) const noexcept;
    std::int64_t leave_large(std::uint64_t size) noexcept;
    std::int64_t leave_stream() noexcept;
    std::int64_t read_at_once(int fd, std::uint64_t size) noexcept;
    bool grow_rest(std::size_t capacity) noexcept;
    Memory next_memory() noexcept;
    void add(std::size_t count) noexcept;
    std::int64_t read_to_end(int fd, const CallFiles& files) noexcept;
    std::int64_t read_directly(int fd, const CallFiles& files) noexcept;
    std::int64_t total() const noexcept { return static_cast<std::int64_t>(filled_ + rest_size_); }

    const int dir_fd_;
    const char* const path_;
    const Memory memory_;
    const bool is_direct_;
    Found found_ = Found::all;
    std::size_t filled_ = 0;
    std::unique_ptr<char, Free> rest_;
    std::size_t rest_capacity_ = 0;
    std::size_t rest_size_ = 0;
};

}  // namespace engine
