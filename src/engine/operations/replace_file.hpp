// SPDX-License-Identifier: Apache-2.0
// Gives a path a whole new content in one job: other programs, and those after a crash of this one,
// find the old file or the new one, and never a part.
#pragma once

#include <sys/stat.h>

#include <array>
#include <climits>
#include <cstddef>

#include "engine/call.hpp"
#include "engine/unique_fd.hpp"

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

    std::int64_t run(const CallFiles& files) noexcept override;  // bytes

private:
    using Path = std::array<char, PATH_MAX>;

    std::int64_t replace() noexcept;
    std::int64_t find_target() noexcept;
    std::int64_t split_target() noexcept;
    std::int64_t open_new() noexcept;
    std::int64_t open_without_name() noexcept;
    std::int64_t open_with_name() noexcept;
    bool new_name() noexcept;
    std::int64_t fill_new() noexcept;
    std::int64_t give_name() noexcept;
    bool rename_to_new(const char* name, std::int64_t& result) noexcept;
    std::int64_t link_to(const char* name) noexcept;
    std::int64_t write_in_place() const noexcept;
    std::int64_t sync_folder() const noexcept;

    const char* const path_;
    const char* const data_;
    const std::size_t size_;
    const Options options_;

    Path target_{};     // the path, without symbolic links at its end
    Path folder_{};     // of the target
    Path temporary_{};  // the new file's name; empty: it has none
    bool exists_ = false;
    struct stat old_{};  // of the target, if it exists
    UniqueFd file_;      // open only while the call runs
};

}  // namespace engine
