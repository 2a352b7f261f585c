// SPDX-License-Identifier: Apache-2.0
// System calls on a path whose result is more than a number: readlink(2) and statvfs(3).
#pragma once

#include <sys/statvfs.h>

#include <array>
#include <cstddef>
#include <string_view>

#include "engine/call.hpp"

namespace engine {

class ReadlinkCall final : public Call {
public:
    explicit ReadlinkCall(const char* path) noexcept : path_(path) {}

    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;

    std::string_view target() const noexcept { return {target_.data(), length_}; }

private:
    const char* const path_;
    std::array<char, 4096> target_;  // PATH_MAX: no link has more
    std::size_t length_ = 0;
};

class StatvfsCall final : public Call {
public:
    // `path` null: of the file system that the request's fd is on.
    explicit StatvfsCall(const char* path) noexcept : path_(path) {}

    Needs needs() const noexcept override {
        return path_ != nullptr ? Needs::rights : Needs::files;
    }
    Paths paths() const noexcept override { return {.first = path_}; }
    std::int64_t run(const CallFiles& files) noexcept override;

    const struct statvfs& status() const noexcept { return status_; }

private:
    const char* const path_;
    struct statvfs status_{};
};

}  // namespace engine
