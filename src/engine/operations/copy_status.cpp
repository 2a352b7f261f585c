// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "engine/operations/extended_attributes.hpp"
#include "engine/operations/path_call.hpp"
#include "engine/operations/system_result.hpp"

namespace engine::path_functions {
namespace {

// A path for calls that take no folder's descriptor.
class Spelled {
public:
    Spelled(int folder, const char* path) noexcept {
        if (folder == AT_FDCWD || path[0] == '/') {
            path_ = path;
            return;
        }
        std::snprintf(text_.data(), text_.size(), "/proc/thread-self/fd/%d/%s", folder, path);
    }
    const char* get() const noexcept { return path_ != nullptr ? path_ : text_.data(); }

    // Whether the error may only say that /proc is missing.
    bool may_lack_proc(int error) const noexcept {
        return path_ == nullptr && (error == ENOENT || error == ENOTDIR);
    }

private:
    const char* path_ = nullptr;
    std::array<char, PATH_MAX> text_{};
};

// Whether copying goes on without an attribute that fails with this error, as shutil.copystat does:
// the file system does not have it, or the user may not set it.
bool is_left_out(int error) noexcept {
    constexpr std::array errors{EPERM, EOPNOTSUPP, ENODATA, EINVAL, EACCES};
    return std::find(errors.begin(), errors.end(), error) != errors.end();
}

// Without /proc, no attributes are copied: the calls that look at them take no folder's descriptor.
int copy_attributes(const Spelled& source, const Spelled& target, bool follows) noexcept {
    const auto set = follows ? setxattr : lsetxattr;
    ExtendedAttributes attributes(source.get());
    if (const int error = attributes.error(); error != 0) {
        return is_left_out(error) || source.may_lack_proc(error) ? 0 : error;
    }
    while (attributes.next()) {
        int error = attributes.read();
        if (error == 0) {
            const auto value = attributes.value();
            const int result = set(target.get(), attributes.name(), value.data(), value.size(), 0);
            error = result == 0 ? 0 : errno;
        }
        if (error != 0 && !is_left_out(error) && !target.may_lack_proc(error)) {
            return error;
        }
    }
    return 0;
}

}  // namespace

std::int64_t copy_status(const CallFiles& files, const PathArguments& arguments) noexcept {
    struct stat status{};
    if (fstatat(files.first, arguments.path, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return -errno;
    }
    const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
    const int flags = arguments.follows ? 0 : AT_SYMLINK_NOFOLLOW;
    if (utimensat(files.second, arguments.other_path, times.data(), flags) != 0) {
        return -errno;
    }
    const Spelled source(files.first, arguments.path);
    const Spelled target(files.second, arguments.other_path);
    if (const int error = copy_attributes(source, target, arguments.follows); error != 0) {
        return -error;
    }
    // The mode comes last: it may take away the right to write, which setting attributes needs.
    if (S_ISLNK(status.st_mode)) {
        return 0;
    }
    const CallFiles of_target{.first = files.second};
    return chmod(of_target, {.path = arguments.other_path,
                             .follows = arguments.follows,
                             .first = status.st_mode & 07777U});
}

}  // namespace engine::path_functions
