// SPDX-License-Identifier: Apache-2.0
#include "engine/eventfd_check.hpp"

#include <sys/eventfd.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "engine/unique_fd.hpp"

namespace engine {
namespace {

std::pair<dev_t, ino_t> identify(const struct stat& status) noexcept {
    return {status.st_dev, status.st_ino};
}

}  // namespace

// Eventfds have no file type, and share an inode with other files of no type. If such a file is
// taken for an eventfd, this does no harm, because a write to it fails.
int check_eventfd(int number) noexcept {
    static const auto known = [] {
        const UniqueFd fd(eventfd(0, EFD_CLOEXEC));
        struct stat status{};
        fstat(fd.get(), &status);
        return identify(status);
    }();
    struct stat status{};
    if (fstat(number, &status) != 0) {
        return EBADF;
    }
    return (status.st_mode & S_IFMT) == 0 && identify(status) == known ? 0 : EINVAL;
}

}  // namespace engine
