// SPDX-License-Identifier: Apache-2.0
// Checks whether a number is an eventfd, for code that writes to it itself. The kernel has such a
// check, but only io_submit(2) tells its result.
#pragma once

namespace engine {

// Returns 0, EBADF if the number is not open, or EINVAL if it surely is no eventfd.
int check_eventfd(int number) noexcept;

}  // namespace engine
