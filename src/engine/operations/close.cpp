// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/close.hpp"

#include <unistd.h>

#include <cerrno>

#include "engine/program_threads.hpp"

namespace engine {

std::optional<std::int64_t> CloseCall::try_at_once() noexcept {
    return closes_at_once(fd_) ? std::optional(run({})) : std::nullopt;
}

CloseCall::~CloseCall() {
    if (is_left_) {
        close_soon(fd_);
    }
}

// The program can't close the number once more. So it is closed when the program's thread drops the
// call.
std::int64_t CloseCall::without_thread(int /*error*/) noexcept {
    is_left_ = true;
    return 0;
}

// If close(2) is interrupted, it has closed the number nevertheless.
std::int64_t CloseCall::run(const CallFiles& /*files*/) noexcept {
    return ::close(fd_) == 0 || errno == EINTR ? 0 : -errno;
}

}  // namespace engine
