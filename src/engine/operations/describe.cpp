// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/describe.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/local_mounts.hpp"
#include "engine/operations/stat.hpp"
#include "engine/operations/system_result.hpp"

namespace engine {

std::int64_t describe(int fd, FileDescription& description) noexcept {
    struct statx status{};
    if (const auto result = find_status(fd, "", 0, status); result != 0) {
        return result;
    }
    LocalMounts::learn(fd, status);
    description.mode = status.stx_mode;
    description.size = static_cast<std::int64_t>(status.stx_size);
    description.position = lseek64(fd, 0, SEEK_CUR);
    description.is_terminal = S_ISCHR(status.stx_mode) && isatty(fd) == 1;
    description.is_local = LocalMounts::is_local(status);
    return 0;
}

std::int64_t SeekCall::run(const CallFiles& files) noexcept {
    return result_of(lseek64(files.first, offset_, whence_));
}

}  // namespace engine
