// SPDX-License-Identifier: Apache-2.0
// A whole regular file in one job: open, write, sync where that is asked for, close.
#pragma once

#include <cstddef>

#include "engine/call.hpp"

namespace engine {

class WriteFileCall final : public Call {
public:
    struct Options {
        bool is_durable = false;  // on the disk when the call is over, under its name
        bool is_atomic = false;   // the old file stays whole until the new one takes its name
    };

    // A relative path starts from the request's fd.
    WriteFileCall(const char* path, const void* data, std::size_t size, Options options) noexcept
        : path_(path), data_(static_cast<const char*>(data)), size_(size), options_(options) {}

    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;  // bytes

    // Whether the path leads to no regular file, of which nothing was opened. Not if atomic: then
    // that is an error.
    bool found_stream() const noexcept { return found_stream_; }

private:
    std::int64_t overwrite(const CallFiles& files) noexcept;

    const char* const path_;
    const char* const data_;
    const std::size_t size_;
    const Options options_;
    bool found_stream_ = false;
};

}  // namespace engine
