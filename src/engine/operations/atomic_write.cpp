// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/atomic_write.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include "engine/operations/extended_attributes.hpp"
#include "engine/operations/link_target.hpp"
#include "engine/operations/random_number.hpp"
#include "engine/operations/write_all.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

using Name = std::array<char, 64>;

// A name that nobody has, as far as chance goes.
Name make_name() noexcept {
    Name name{};
    std::snprintf(name.data(), name.size(), ".linux-aio-%016llx",
                  static_cast<unsigned long long>(random_number()));
    return name;
}

constexpr int most_tries = 100;

// The new file, from its first byte to its name.
class NewFile {
public:
    explicit NewFile(const LinkTarget& target) noexcept : target_(target) {}
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    ~NewFile() { remove(); }

    int fd() const noexcept { return file_.get(); }

    // Each returns 0 or a negative errno.
    int create() noexcept;
    int create_with_name() noexcept;
    int take_name() noexcept;

private:
    int link(const char* name) noexcept;
    void remove() noexcept;

    const LinkTarget& target_;
    UniqueFd file_;
    bool has_name_ = false;
    Name name_{};
};

// Without a name where the file system has that: killed meanwhile, it leaves nothing behind.
int NewFile::create() noexcept {
    do {
        file_ = UniqueFd(openat(target_.folder.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
    } while (!file_.is_open() && errno == EINTR);
    if (file_.is_open()) {
        return 0;
    }
    const bool is_unknown =
        errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT;
    return is_unknown ? create_with_name() : -errno;
}

int NewFile::create_with_name() noexcept {
    remove();
    for (int tries = 0; tries < most_tries; ++tries) {
        name_ = make_name();
        file_ = UniqueFd(openat(target_.folder.get(), name_.data(),
                                O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0666));
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

int NewFile::link(const char* name) noexcept {
    std::array<char, 40> link;
    std::snprintf(link.data(), link.size(), "/proc/thread-self/fd/%d", file_.get());
    return linkat(AT_FDCWD, link.data(), target_.folder.get(), name, AT_SYMLINK_FOLLOW) == 0
               ? 0
               : -errno;
}

int NewFile::take_name() noexcept {
    if (!has_name_) {
        int result = target_.exists ? -EEXIST : link(target_.name.data());
        if (result == 0) {
            return 0;
        }
        for (int tries = 0; result == -EEXIST && tries < most_tries; ++tries) {
            name_ = make_name();
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

void NewFile::remove() noexcept {
    if (std::exchange(has_name_, false)) {
        unlinkat(target_.folder.get(), name_.data(), 0);
    }
}

// --- what the new file has of the old one

// Whether the attribute describes the contents. Such attributes are not copied: the new file has
// other contents.
bool is_of_contents(std::string_view name) noexcept {
    return name == "security.capability" || name == "security.ima" || name == "security.evm";
}

// Extended attributes, access control lists among them, as far as that is allowed.
void copy_attributes(const LinkTarget& old, int target) noexcept {
    constexpr const char* access_list = "system.posix_acl_access";
    std::array<char, 320> source;
    std::snprintf(source.data(), source.size(), "/proc/thread-self/fd/%d/%s", old.folder.get(),
                  old.name.data());
    ExtendedAttributes attributes(source.data());
    if (attributes.error() != 0) {
        return;
    }
    bool has_access_list = false;
    while (attributes.next()) {
        const std::string_view name = attributes.name();
        has_access_list = has_access_list || name == access_list;
        if (!is_of_contents(name) && attributes.read() == 0) {
            const auto value = attributes.value();
            static_cast<void>(fsetxattr(target, attributes.name(), value.data(), value.size(), 0));
        }
    }
    if (!has_access_list) {
        static_cast<void>(fremovexattr(target, access_list));  // one that is the folder's default
    }
}

// Of the old file's owner and group; whether it now has both.
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

int keep_what_the_old_has(const LinkTarget& old, int target) noexcept {
    const bool has_owner = copy_owner(old.status, target);
    copy_attributes(old, target);
    auto mode = static_cast<mode_t>(old.status.stx_mode & 07777U);
    if (!has_owner) {
        mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);  // those would be of another's
    }
    return fchmod(target, mode) == 0 ? 0 : -errno;
}

int fill(NewFile& file, const LinkTarget& target, const char* data, std::size_t size) noexcept {
    if (const auto result = write_all(file.fd(), data, size); result < 0) {
        return static_cast<int>(result);
    }
    if (target.exists) {
        if (const int result = keep_what_the_old_has(target, file.fd()); result < 0) {
            return result;
        }
    }
    return fsync(file.fd()) == 0 ? 0 : -errno;
}

}  // namespace

std::int64_t write_atomically(int dir_fd, const char* path, const char* data, std::size_t size,
                              bool is_durable) noexcept {
    const auto target = find_link_target(dir_fd, path);
    if (target.error != 0) {
        return -target.error;
    }
    if (target.exists && !S_ISREG(target.status.stx_mode)) {
        return S_ISDIR(target.status.stx_mode) ? -EISDIR : -EINVAL;
    }
    // as open(2) would refuse it
    if (target.exists &&
        faccessat(target.folder.get(), target.name.data(), W_OK, AT_EACCESS) != 0) {
        return -errno;
    }
    NewFile file(target);
    int result = file.create();
    result = result == 0 ? fill(file, target, data, size) : result;
    result = result == 0 ? file.take_name() : result;
    if (result == -ENOENT) {
        // without /proc there is no link to what has no name
        result = file.create_with_name();
        result = result == 0 ? fill(file, target, data, size) : result;
        result = result == 0 ? file.take_name() : result;
    }
    if (result < 0) {
        return result;
    }
    return is_durable ? sync_folder(target.folder.get(), file.fd()) : 0;
}

}  // namespace engine
