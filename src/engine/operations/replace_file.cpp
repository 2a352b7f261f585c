// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/replace_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "engine/operations/link_target.hpp"
#include "engine/operations/new_file.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/operations/write_all.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

// Makes the folders above a file, as mkdir -p does. It is no error if another program made one.
std::int64_t make_folders_above(const char* file) noexcept {
    std::array<char, PATH_MAX> copy;
    const auto length = std::strlen(file);
    if (length >= copy.size()) {
        return -ENAMETOOLONG;
    }
    std::copy_n(file, length + 1, copy.data());
    char* const path = copy.data();
    char* const last = std::strrchr(path, '/');
    if (last == nullptr || last == path) {
        return 0;
    }
    *last = '\0';
    for (char* slash = std::strchr(path + 1, '/'); slash != nullptr;
         slash = std::strchr(slash + 1, '/')) {
        *slash = '\0';
        const auto result = result_of(mkdir(path, 0777));
        *slash = '/';
        // mkdir may fail with EROFS or EACCES for directories that exist
        if (result < 0 && result != -EEXIST && result != -EROFS && result != -EACCES) {
            return result;
        }
    }
    const auto result = result_of(mkdir(path, 0777));
    return result == -EEXIST ? 0 : result;
}

}  // namespace

std::int64_t ReplaceFileCall::run(const CallFiles& /*files*/) noexcept {
    const auto result = replace();
    return result < 0 ? result : static_cast<std::int64_t>(size_);
}

std::int64_t ReplaceFileCall::replace() noexcept {
    struct stat status{};
    if (options_.exclusive && lstat(path_, &status) == 0) {
        return -EEXIST;  // also a link that leads nowhere
    }
    auto target = find_link_target(AT_FDCWD, path_);
    if (target.error == ENOENT && options_.makes_parents) {
        if (const auto result = make_folders_above(path_); result < 0) {
            return result;
        }
        target = find_link_target(AT_FDCWD, path_);
    }
    if (target.error != 0) {
        return -target.error;
    }
    if (target.exists && S_ISDIR(target.status.stx_mode)) {
        return -EISDIR;
    }
    // a device, FIFO or socket stays what it is
    if (target.exists && !S_ISREG(target.status.stx_mode)) {
        found_stream_ = !options_.writes_streams;
        return found_stream_ ? 0 : write_in_place();
    }
    if (const int result = may_write(target); result < 0) {
        return result;
    }
    NewFile file(target, NewFile::Names::of_target);
    int result = file.create();
    if (result == -EACCES && target.exists) {
        return write_in_place();  // the directory can't be written to
    }
    result = result == 0 ? file.write({.data = data_,
                                       .size = size_,
                                       .is_synced = options_.durable,
                                       .is_exclusive = options_.exclusive})
                         : result;
    return result == 0 && options_.durable ? file.sync_name() : result;
}

std::int64_t ReplaceFileCall::write_in_place() const noexcept {
    auto file =
        open_uninterrupted([&] { return open(path_, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY); });
    if (!file.is_open()) {
        return -errno;
    }
    if (const auto result = write_all(file.get(), data_, size_); result < 0) {
        return result;
    }
    if (options_.durable) {
        const auto result = call_uninterrupted([&] { return fsync(file.get()); });
        // EINVAL: of a device that can't be synced
        if (result < 0 && result != -EINVAL && result != -EROFS) {
            return result;
        }
    }
    if (::close(file.release()) != 0 && errno != EINTR) {
        return -errno;
    }
    return 0;
}

}  // namespace engine
