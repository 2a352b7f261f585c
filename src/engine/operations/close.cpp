// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/close.hpp"

#include <unistd.h>

#include <cerrno>

#include "engine/program_threads.hpp"

namespace engine {

std::optional<std::int64_t> CloseCall::try_at_once() noexcept {
    return closes_at_once(fd_) ? std::optional(run({})) : std::nullopt;
}

// If close(2) is interrupted, it has closed the number nevertheless.
std::int64_t CloseCall::run(const CallFiles& /*files*/) noexcept {
    return ::close(fd_) == 0 || errno == EINTR ? 0 : -errno;
}

}  // namespace engine
