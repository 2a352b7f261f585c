// SPDX-License-Identifier: Apache-2.0
#include "engine/uring_calls.hpp"

#include <sys/resource.h>

namespace engine {

UringCalls uring_calls{
    .queue_init_params = io_uring_queue_init_params,
    .submit = io_uring_submit,
    .submit_and_wait_timeout = io_uring_submit_and_wait_timeout,
};

bool may_have_kernel_workers() noexcept {
    rlimit limit{};
    return getrlimit(RLIMIT_NPROC, &limit) != 0 || limit.rlim_cur != 0;
}

}  // namespace engine
