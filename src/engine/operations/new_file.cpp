// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/new_file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include "engine/operations/extended_attributes.hpp"
#include "engine/operations/random_number.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/operations/write_all.hpp"

namespace engine {
namespace {

constexpr int most_tries = 100;
constexpr mode_t new_mode = 0666;

// --- what the new file inherits from the old one

// Whether the attribute describes the contents. Such attributes are not copied: the new file has
// other contents.
bool is_of_contents(std::string_view name) noexcept {
    return name == "security.capability" || name == "security.ima" || name == "security.evm";
}

// Copies the extended attributes, access control lists among them, as far as that is allowed.
void copy_attributes(const LinkTarget& old, int target) noexcept {
    constexpr const char* access_list = "system.posix_acl_access";
    std::array<char, 320> source;
    std::snprintf(source.data(), source.size(), "/proc/thread-self/fd/%d/%s", old.folder.get(),
                  old.name.data());
    ExtendedAttributes attributes(source.data());
    bool copied_access_list = false;
    while (attributes.next()) {
        const std::string_view name = attributes.name();
        if (!is_of_contents(name) && attributes.read() == 0) {
            const auto value = attributes.value();
            const bool copied =
                fsetxattr(target, attributes.name(), value.data(), value.size(), 0) == 0;
            copied_access_list = copied_access_list || (copied && name == access_list);
        }
    }
    if (!copied_access_list) {
        // The folder's default list may allow more than the old file did.
        static_cast<void>(fremovexattr(target, access_list));
    }
}

// Gives the new file the old one's owner and group. Returns whether it now has both.
bool copy_owner(const struct statx& old, int target) noexcept {
    struct stat own{};
    if (fstat(target, &own) == 0 && own.st_uid == old.stx_uid && own.st_gid == old.stx_gid) {
        return true;
    }
    if (fchown(target, old.stx_uid, old.stx_gid) == 0) {
        return true;
    }
    static_cast<void>(fchown(target, static_cast<uid_t>(-1), old.stx_gid) == 0);
    return false;
}

}  // namespace

int keep_what_the_old_has(const LinkTarget& old, int target) noexcept {
    const bool has_owner = copy_owner(old.status, target);
    copy_attributes(old, target);
    auto mode = static_cast<mode_t>(old.status.stx_mode & 07777U);
    if (!has_owner) {
        mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);  // these would be for another user
    }
    if (struct stat now{}; fstat(target, &now) != 0 || now.st_gid != old.status.stx_gid) {
        // The old group's rights are not for another group, which had those of all others.
        mode = (mode & ~static_cast<mode_t>(S_IRWXG)) | ((mode & mode_t{S_IRWXO}) << 3U);
    }
    return fchmod(target, mode) == 0 ? 0 : -errno;
}

// Makes the file without a name, if the file system supports that: then nothing is left behind if
// the process is killed meanwhile.
int NewFile::create() noexcept {
    file_ = open_uninterrupted([&] {
        return openat(target_.folder.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, new_mode);
    });
    if (file_.is_open()) {
        return 0;
    }
    const bool is_unknown =
        errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT;
    return is_unknown ? create_with_name() : -errno;
}

// Makes the file with a temporary name, by which other users could open it. If there is an old
// file, the mode allows that only to the owner: others may not have been allowed to read the old
// file.
int NewFile::create_with_name() noexcept {
    const mode_t mode = target_.exists ? S_IRUSR | S_IWUSR : new_mode;
    remove();
    for (int tries = 0; tries < most_tries; ++tries) {
        make_name();
        file_ = UniqueFd(openat(target_.folder.get(), name_.data(),
                                O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, mode));
        if (file_.is_open()) {
            has_name_ = true;
            return 0;
        }
        if (errno != EEXIST && errno != EINTR) {
            break;
        }
    }
    return -errno;
}

int NewFile::write(const Contents& contents) noexcept {
    int result = fill(contents);
    result = result == 0 ? take_name(contents.is_exclusive) : result;
    if (result == -ENOENT && !has_name_) {
        // without /proc, a file without a name can't be given one
        result = create_with_name();
        result = result == 0 ? fill(contents) : result;
        result = result == 0 ? take_name(contents.is_exclusive) : result;
    }
    return result;
}

int NewFile::fill(const Contents& contents) noexcept {
    if (const auto result = write_all(file_.get(), contents.data, contents.size); result < 0) {
        return static_cast<int>(result);
    }
    if (target_.exists) {
        if (const int result = keep_what_the_old_has(target_, file_.get()); result < 0) {
            return result;
        }
    }
    if (contents.is_synced) {
        return static_cast<int>(call_uninterrupted([&] { return fsync(file_.get()); }));
    }
    // a server may report a failed write only now
    const bool is_lost = has_name_ && ::close(file_.release()) != 0 && errno != EINTR;
    return is_lost ? -errno : 0;
}

int NewFile::take_name(bool is_exclusive) noexcept {
    if (is_exclusive) {
        return take_free_name();
    }
    if (!has_name_) {
        int result = target_.exists ? -EEXIST : link(target_.name.data());
        if (result == 0) {
            return 0;
        }
        for (int tries = 0; result == -EEXIST && tries < most_tries; ++tries) {
            make_name();
            result = link(name_.data());
        }
        if (result != 0) {
            return result;
        }
        has_name_ = true;
    }
    const int folder = target_.folder.get();
    if (renameat(folder, name_.data(), folder, target_.name.data()) != 0) {
        return -errno;
    }
    has_name_ = false;
    return 0;
}

int NewFile::take_free_name() noexcept {
    if (has_name_) {
        // tried before a link, which not all file systems support
        const int folder = target_.folder.get();
        const auto result = result_of(syscall(SYS_renameat2, folder, name_.data(), folder,
                                              target_.name.data(), RENAME_NOREPLACE));
        if (result == 0) {
            has_name_ = false;
        }
        if (result != -EINVAL && result != -ENOSYS) {
            return static_cast<int>(result);
        }
    }
    return link(target_.name.data());
}

void NewFile::make_name() noexcept {
    const auto number = static_cast<unsigned long long>(random_number());
    if (names_ == Names::ours) {
        std::snprintf(name_.data(), name_.size(), ".linux-aio-%016llx", number);
    } else {
        std::snprintf(name_.data(), name_.size(), ".%.200s.%012llx.tmp", target_.name.data(),
                      number & 0xffffffffffffU);
    }
}

int NewFile::link(const char* name) const noexcept {
    const int folder = target_.folder.get();
    if (has_name_) {
        return linkat(folder, name_.data(), folder, name, 0) == 0 ? 0 : -errno;
    }
    std::array<char, 40> own;
    std::snprintf(own.data(), own.size(), "/proc/thread-self/fd/%d", file_.get());
    return linkat(AT_FDCWD, own.data(), folder, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

void NewFile::remove() noexcept {
    if (std::exchange(has_name_, false)) {
        unlinkat(target_.folder.get(), name_.data(), 0);
    }
}

}  // namespace engine
