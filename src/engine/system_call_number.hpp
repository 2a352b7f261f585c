// SPDX-License-Identifier: Apache-2.0
// The numbers of system calls that the C library's headers may be too old for.
#pragma once

#include <sys/syscall.h>

namespace engine {

// Returns the number of a system call that came with Linux 5.1 or later, given the number that it
// has on most machines.
constexpr long number_of_new_call(long number) noexcept {
#if defined(__alpha__)
    return number + 110;
#elif defined(__mips__)
    return number + __NR_Linux;  // where this ABI's numbers begin
#elif defined(__x86_64__) && defined(__ILP32__)
    return number + __X32_SYSCALL_BIT;
#else
    return number;
#endif
}

}  // namespace engine
