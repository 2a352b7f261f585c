// SPDX-License-Identifier: Apache-2.0
#include "engine/eventfd_check.hpp"

#include <sys/eventfd.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>

#include "engine/file_status.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

// The device and the inode that all eventfds share; 0 as long as they are not known.
std::atomic<dev_t> eventfd_device = 0;
std::atomic<ino_t> eventfd_inode = 0;

// Whether they are known. They can't be learnt while the process has no free descriptor.
bool learn_identity() noexcept {
    if (eventfd_inode.load(std::memory_order_acquire) != 0) {
        return true;
    }
    const UniqueFd fd(eventfd(0, EFD_CLOEXEC));
    struct stat status{};
    if (!fd.is_open() || fstat(fd.get(), &status) != 0) {
        return false;
    }
    eventfd_device.store(status.st_dev, std::memory_order_relaxed);
    eventfd_inode.store(status.st_ino, std::memory_order_release);
    return true;
}

}  // namespace

// Eventfds have no file type, and share an inode with other files of no type. If such a file is
// taken for an eventfd, this does no harm, because a write to it fails.
int check_eventfd(int number) noexcept {
    const auto status = status_of(number);  // which asks no server
    if (status.error != 0) {
        return EBADF;
    }
    if (status.type != 0) {
        return EINVAL;
    }
    if (!learn_identity()) {
        return 0;
    }
    return status.identity == FileIdentity{.device = eventfd_device.load(std::memory_order_relaxed),
                                           .inode = eventfd_inode.load(std::memory_order_relaxed)}
               ? 0
               : EINVAL;
}

}  // namespace engine
