// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/link_target.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "engine/operations/stat.hpp"
#include "engine/operations/system_result.hpp"

namespace engine {
namespace {

constexpr int most_links = 40;  // as the kernel

// If a file is replaced again and again, one of so many tries most likely falls between two times.
constexpr int most_tries = 50;

using Path = std::array<char, 4096>;

LinkTarget failure(int error) noexcept {
    LinkTarget target;
    target.error = error;
    return target;
}

// Whether a link may be followed, as the kernel decides with fs.protected_symlinks: in a folder
// that is world-writable and sticky, only links of the caller and of the folder's owner are
// followed.
bool may_follow(const struct statx& link, const struct statx& folder) noexcept {
    constexpr auto shared = S_ISVTX | S_IWOTH;
    return link.stx_uid == geteuid() || (folder.stx_mode & shared) != shared ||
           folder.stx_uid == link.stx_uid;
}

bool is_same_file(const struct statx& left, const struct statx& right) noexcept {
    return left.stx_ino == right.stx_ino && left.stx_dev_major == right.stx_dev_major &&
           left.stx_dev_minor == right.stx_dev_minor;
}

// Splits the path, opens its folder, and looks its name up there. If the name is a symbolic link,
// opens it as `link`.
LinkTarget look_up(int dir_fd, Path& path, UniqueFd& link) noexcept {
    const auto length = std::strlen(path.data());
    const auto slash = std::string_view(path.data(), length).rfind('/');
    const char* folder = ".";
    const char* name = path.data();
    if (slash != std::string_view::npos) {
        name = path.data() + slash + 1;
        folder = slash == 0 ? "/" : path.data();
    }
    const std::string_view last(name);
    LinkTarget target;
    if (length == 0 || last.size() >= target.name.size()) {
        return failure(length == 0 ? ENOENT : ENAMETOOLONG);
    }
    if (last.empty() || last == "." || last == "..") {
        return failure(EISDIR);
    }
    last.copy(target.name.data(), last.size());
    if (slash != std::string_view::npos && slash != 0) {
        path[slash] = '\0';
    }
    target.folder = open_uninterrupted(
        [&] { return openat(dir_fd, folder, O_PATH | O_DIRECTORY | O_CLOEXEC); });
    if (!target.folder.is_open()) {
        return failure(errno);
    }
    auto found = open_uninterrupted([&] {
        return openat(target.folder.get(), target.name.data(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    });
    if (!found.is_open()) {
        target.error = errno == ENOENT ? 0 : errno;
        return target;
    }
    target.error = static_cast<int>(-find_status(found.get(), "", 0, target.status));
    target.exists = true;
    if (S_ISLNK(target.status.stx_mode)) {
        link = std::move(found);
    }
    return target;
}

// One try: ESTALE if the links lead to another file than the kernel finds.
LinkTarget follow_links(int dir_fd, const char* path) noexcept {
    Path rest;
    // what the kernel finds, for links that are more than their text (proc(5))
    struct statx found{};
    const auto result = *path != '\0' ? find_status(dir_fd, path, 0, found) : std::int64_t{-ENOENT};
    if (result < 0 && result != -ENOENT) {
        return failure(static_cast<int>(-result));
    }
    std::strcpy(rest.data(), path);
    UniqueFd folder;  // in which the link is
    for (int followed = 0; followed <= most_links; ++followed) {
        UniqueFd link;
        auto target = look_up(folder.is_open() ? folder.get() : dir_fd, rest, link);
        if (target.error != 0) {
            return target;
        }
        if (!link.is_open()) {
            // the file has no name, or another than the links say; or it was replaced meanwhile
            const bool is_other = followed != 0 && result == 0 &&
                                  (!target.exists || !is_same_file(found, target.status));
            target.error = is_other ? ESTALE : 0;
            return target;
        }
        struct statx around{};
        if (const auto status = find_status(target.folder.get(), "", 0, around); status < 0) {
            return failure(static_cast<int>(-status));
        }
        if (!may_follow(target.status, around)) {
            return failure(EACCES);
        }
        const auto length = call_uninterrupted(
            [&] { return readlinkat(link.get(), "", rest.data(), rest.size() - 1); });
        if (length < 0) {
            return failure(static_cast<int>(-length));
        }
        rest[static_cast<std::size_t>(length)] = '\0';
        folder = std::move(target.folder);
    }
    return failure(ELOOP);
}

}  // namespace

LinkTarget find_link_target(int dir_fd, const char* path) noexcept {
    if (std::strlen(path) >= Path().size()) {
        return failure(ENAMETOOLONG);
    }
    if (*path != '\0' && path[std::strlen(path) - 1] == '/') {
        return failure(EISDIR);
    }
    for (int tries = 0; tries < most_tries; ++tries) {
        auto target = follow_links(dir_fd, path);
        if (target.error != ESTALE) {
            return target;
        }
    }
    return failure(EINVAL);
}

int may_write(const LinkTarget& target) noexcept {
    if (!target.exists) {
        return 0;
    }
    return static_cast<int>(call_uninterrupted(
        [&] { return faccessat(target.folder.get(), target.name.data(), W_OK, AT_EACCESS); }));
}

// EINVAL is of file systems that don't sync folders, EACCES of folders that may not be read.
int sync_folder(int folder, int file) noexcept {
    auto result =
        call_uninterrupted([&] { return openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (result >= 0) {
        const UniqueFd opened(static_cast<int>(result));
        result = call_uninterrupted([&] { return fsync(opened.get()); });
    }
    if (result == -EINVAL || result == -EACCES) {
        result = call_uninterrupted([&] { return syncfs(file); });
    }
    return static_cast<int>(result);
}

}  // namespace engine
