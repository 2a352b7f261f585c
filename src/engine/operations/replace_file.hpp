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
    };

    ReplaceFileCall(const char* path, const char* data, std::size_t size,
                    const Options& options) noexcept
        : path_(path), data_(data), size_(size), options_(options) {}

    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;  // bytes

private:
    std::int64_t replace() noexcept;
    std::int64_t write_in_place() const noexcept;

    const char* const path_;
    const char* const data_;
    const std::size_t size_;
    const Options options_;
};

}  // namespace engine
