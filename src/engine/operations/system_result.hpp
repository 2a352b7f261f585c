// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstdint>

#include "engine/unique_fd.hpp"

namespace engine {

// The value that a system call returned or, if it failed, its negative errno.
inline std::int64_t result_of(std::int64_t status) noexcept { return status < 0 ? -errno : status; }

// Makes a system call until it fails with another error than EINTR, which file systems such as FUSE
// may answer, or succeeds. Returns its value or a negative errno.
template <class SystemCall>
std::int64_t call_uninterrupted(SystemCall system_call) noexcept {
    std::int64_t result = 0;
    do {
        result = result_of(system_call());
    } while (result == -EINTR);
    return result;
}

// The same for a call that opens a file. If the file is not open, errno tells why.
template <class SystemCall>
UniqueFd open_uninterrupted(SystemCall system_call) noexcept {
    UniqueFd file;
    do {
        file = UniqueFd(system_call());
    } while (!file.is_open() && errno == EINTR);
    return file;
}

}  // namespace engine
