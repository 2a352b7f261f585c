// SPDX-License-Identifier: Apache-2.0
// Gives a path a whole new content in one job: other programs, and those after a crash of this one,
// find the old file or the new one, and never a part.
#pragma once

#include <cstddef>

#include "engine/call.hpp"

namespace engine {

class ReplaceFileCall final : public Call {
public:
    struct Options {
        bool exclusive = false;      // EEXIST if the path is there
        bool durable = false;        // the file and its name are on the disk at the end
        bool makes_parents = false;  // the directories above it that are missing
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
