// SPDX-License-Identifier: Apache-2.0
// Whether a number is that of an eventfd, for those who write to it themselves. The kernel checks
// for itself, but tells nobody in another way than by io_submit(2).
#pragma once

namespace engine {

// 0, EBADF for a number that is not open, or EINVAL for what is surely no eventfd.
int check_eventfd(int number) noexcept;

}  // namespace engine
