// SPDX-License-Identifier: Apache-2.0
// The functions of liburing that make system calls, in a table that tests can put faults into.
#pragma once

#include <liburing.h>

namespace engine {

// Every function returns a negative errno on failure, as liburing's functions do.
struct UringCalls {
    int (*queue_init_params)(unsigned entries, io_uring* ring, io_uring_params* parameters);
    int (*submit)(io_uring* ring);
    int (*submit_and_wait_timeout)(io_uring* ring, io_uring_cqe** completion, unsigned count,
                                   __kernel_timespec* timeout, sigset_t* signals);
};

// The table that the reactor uses. Only tests write to it.
extern UringCalls uring_calls;

// Whether RLIMIT_NPROC lets the kernel have threads for a ring. For some requests, as of files in
// /proc, it starts no more of them than that limit says, whoever the user is. With a limit of 0
// such a request waits for ever, so a ring is not used then.
bool may_have_kernel_workers() noexcept;

}  // namespace engine
