// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/write_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/operations/atomic_write.hpp"
#include "engine/operations/link_target.hpp"
#include "engine/operations/stat.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/operations/write_all.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

bool is_same_file(const struct statx& left, const struct statx& right) noexcept {
    return left.stx_ino == right.stx_ino && left.stx_dev_major == right.stx_dev_major &&
           left.stx_dev_minor == right.stx_dev_minor;
}

}  // namespace

std::int64_t WriteFileCall::run(const CallFiles& files) noexcept {
    const auto result =
        options_.is_atomic ? write_atomically(files.first, path_, data_, size_, options_.is_durable)
                           : overwrite(files);
    return result < 0 ? result : static_cast<std::int64_t>(size_);
}

// Only a regular file is opened here: to open a FIFO or a device may wait, and takes effect.
std::int64_t WriteFileCall::overwrite(const CallFiles& files) noexcept {
    struct statx before{};
    const auto found =
        *path_ != '\0' ? find_status(files.first, path_, 0, before) : std::int64_t{-ENOENT};
    if (found == 0 && !S_ISREG(before.stx_mode) && !S_ISDIR(before.stx_mode)) {
        found_stream_ = true;
        return 0;
    }
    LinkTarget target;
    if (found == -ENOENT && options_.is_durable) {
        target = find_link_target(files.first, path_);
        if (target.error != 0) {
            return -target.error;
        }
    }
    auto file = open_uninterrupted([&] {
        return openat(files.first, path_, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY,
                      0666);
    });
    if (!file.is_open()) {
        return -errno;
    }
    if (const auto result = write_all(file.get(), data_, size_); result < 0) {
        return result;
    }
    if (options_.is_durable) {
        const auto result = call_uninterrupted([&] { return fdatasync(file.get()); });
        if (result < 0) {
            return result;
        }
        // a file that was removed and made anew meanwhile is new, too
        struct statx after{};
        const bool is_new = found != 0 || find_status(file.get(), "", 0, after) != 0 ||
                            !is_same_file(before, after);
        if (is_new && !target.folder.is_open()) {
            target = find_link_target(files.first, path_);
        }
        if (is_new) {
            const auto synced = sync_folder(target.folder.get(), file.get());
            if (synced < 0) {
                return synced;
            }
        }
    }
    // close(2) may report the error of an earlier write
    return ::close(file.release()) == 0 || errno == EINTR ? 0 : -errno;
}

}  // namespace engine
