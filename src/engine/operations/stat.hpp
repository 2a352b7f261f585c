// SPDX-License-Identifier: Apache-2.0
// statx(2) of a path, or of an open file.
#pragma once

#include <sys/stat.h>

#include "engine/call.hpp"

namespace engine {

class StatCall final : public Call {
public:
    // `path` null: the status of the request's fd. Else a relative path starts from that fd.
    StatCall(int fd, const char* path, bool follows) noexcept
        : fd_(fd), path_(path), follows_(follows) {}

    Needs needs() const noexcept override {
        return path_ != nullptr ? Needs::rights : Needs::files;
    }
    Paths paths() const noexcept override { return {.first = path_}; }
    std::optional<std::int64_t> try_at_once() noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;

    const struct statx& status() const noexcept { return status_; }

private:
    const int fd_;
    const char* const path_;
    const bool follows_;
    struct statx status_{};
};

// statx(2) for any call, in a thread that may wait. It also works where a sandbox refuses statx(2).
// With an empty path, finds the status of `fd`. Returns 0 or a negative errno.
std::int64_t find_status(int fd, const char* path, int flags, struct statx& status) noexcept;

}  // namespace engine
