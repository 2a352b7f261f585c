// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/atomic_write.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/operations/link_target.hpp"
#include "engine/operations/new_file.hpp"

namespace engine {

std::int64_t write_atomically(int dir_fd, const char* path, const char* data, std::size_t size,
                              bool is_durable) noexcept {
    const auto target = find_link_target(dir_fd, path);
    if (target.error != 0) {
        return -target.error;
    }
    if (target.exists && !S_ISREG(target.status.stx_mode)) {
        return S_ISDIR(target.status.stx_mode) ? -EISDIR : -EINVAL;
    }
    if (const int result = may_write(target); result < 0) {
        return result;
    }
    NewFile file(target, NewFile::Names::ours);
    int result = file.create();
    result = result == 0 ? file.write({.data = data, .size = size, .is_synced = true}) : result;
    return result == 0 && is_durable ? file.sync_name() : result;
}

}  // namespace engine
