// SPDX-License-Identifier: Apache-2.0
// Writes a whole regular file in one job: open, write, sync if that is asked for, close.
#pragma once

#include <cstddef>

#include "engine/call.hpp"

namespace engine {

class WriteFileCall final : public Call {
public:
    struct Options {
        bool is_durable = false;  // when the call is over, the file and its name are on the disk
        bool is_atomic = false;   // the old file stays whole until the new one takes its name
    };

    // A relative path starts from the request's fd.
    WriteFileCall(const char* path, const void* data, std::size_t size, Options options) noexcept
        : path_(path), data_(static_cast<const char*>(data)), size_(size), options_(options) {}

    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;  // bytes

    // Whether the path leads to something else than a regular file, which was not opened. Never
    // true if `is_atomic`: then the call fails instead.
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
