// SPDX-License-Identifier: Apache-2.0
// Replaces the contents of a path in one job. Other programs, even after a crash of this one, find
// the old file or the new one, and never a part.
#pragma once

#include <cstddef>

#include "engine/call.hpp"

namespace engine {

class ReplaceFileCall final : public Call {
public:
    struct Options {
        bool exclusive = false;      // fail with EEXIST if the path exists
        bool durable = false;        // at the end, the file and its name are on the disk
        bool makes_parents = false;  // make the missing directories above the path
        // Write to a FIFO or device, and wait as long as that waits. Else it is left: see
        // found_stream().
        bool writes_streams = false;
    };

    ReplaceFileCall(const char* path, const char* data, std::size_t size,
                    const Options& options) noexcept
        : path_(path), data_(data), size_(size), options_(options) {}

    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;  // bytes

    // Whether the path leads to a FIFO or a device, to which nothing was written.
    bool found_stream() const noexcept { return found_stream_; }

private:
    std::int64_t replace() noexcept;
    std::int64_t write_in_place() const noexcept;

    const char* const path_;
    const char* const data_;
    const std::size_t size_;
    const Options options_;
    bool found_stream_ = false;
};

}  // namespace engine
