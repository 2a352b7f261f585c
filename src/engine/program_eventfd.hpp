// SPDX-License-Identifier: Apache-2.0
// Signals an eventfd of the program's from a thread whose descriptor table does not have it. This
// is for requests that end before the eventfd could be received, as where the table is full.
#pragma once

#include <cstdint>

namespace engine {

// Whether that is possible: pidfd_getfd(2) came with Linux 5.6, and a sandbox may refuse it.
// `number`: that of any file of the program's.
bool reaches_program_eventfds(int number) noexcept;

// Signals the eventfd that has this number in the program's table, by two free numbers of the
// calling thread's. Does nothing if the number is no longer an eventfd's.
void signal_program_eventfd(int number, std::uint64_t count, bool may_block) noexcept;

}  // namespace engine
