// SPDX-License-Identifier: Apache-2.0
// One system call on one or two paths, or on an open file, whose result is a number.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <ctime>

#include "engine/call.hpp"

namespace engine {

struct PathArguments {
    const char* path = nullptr;        // null: the request's fd is the file
    const char* other_path = nullptr;  // relative to second_fd, if that is a directory
    bool follows = true;               // follow a symbolic link at the end
    std::int64_t first = 0;            // what these numbers mean is said at each function
    std::int64_t second = 0;
    std::int64_t third = 0;
    std::array<timespec, 2> times{};
};

class PathCall final : public Call {
public:
    using Function = std::int64_t (*)(const CallFiles& files,
                                      const PathArguments& arguments) noexcept;

    PathCall(Function function, const PathArguments& arguments) noexcept
        : function_(function), arguments_(arguments) {}

    Needs needs() const noexcept override {
        return arguments_.path != nullptr ? Needs::rights : Needs::files;
    }
    Paths paths() const noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;

private:
    const Function function_;
    const PathArguments arguments_;
};

// Each function returns 0 or more, or a negative errno. Its comment names the numbers that it
// takes.
namespace path_functions {

std::int64_t mkdir(const CallFiles& files, const PathArguments& arguments) noexcept;  // mode
std::int64_t rmdir(const CallFiles& files, const PathArguments& arguments) noexcept;
std::int64_t unlink(const CallFiles& files, const PathArguments& arguments) noexcept;
std::int64_t rename(const CallFiles& files, const PathArguments& arguments) noexcept;
std::int64_t link(const CallFiles& files, const PathArguments& arguments) noexcept;
// `path` is the text, `other_path` the link
std::int64_t symlink(const CallFiles& files, const PathArguments& arguments) noexcept;
std::int64_t chmod(const CallFiles& files, const PathArguments& arguments) noexcept;  // mode
std::int64_t chown(const CallFiles& files, const PathArguments& arguments) noexcept;  // user, group
std::int64_t utime(const CallFiles& files, const PathArguments& arguments) noexcept;  // times
std::int64_t truncate(const CallFiles& files, const PathArguments& arguments) noexcept;  // length
// fallocate(2) of an open file: mode, offset, length
std::int64_t allocate(const CallFiles& files, const PathArguments& arguments) noexcept;
std::int64_t posix_allocate(const CallFiles& files, const PathArguments& arguments) noexcept;
// mode, and whether to ask for the effective user. Returns 1 if access is granted, else 0
std::int64_t access(const CallFiles& files, const PathArguments& arguments) noexcept;
// sendfile(2) from second_fd to fd: offset (-1: the file's position), count
std::int64_t sendfile(const CallFiles& files, const PathArguments& arguments) noexcept;
// copies the rest of second_fd to fd, or lets both share the blocks if the file system can
std::int64_t copy(const CallFiles& files, const PathArguments& arguments) noexcept;
// copies the times, extended attributes and mode of `path` to `other_path`. Follows no symbolic
// link, except one at `other_path` if `follows` is set.
std::int64_t copy_status(const CallFiles& files, const PathArguments& arguments) noexcept;

}  // namespace path_functions

}  // namespace engine
