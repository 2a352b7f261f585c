// SPDX-License-Identifier: Apache-2.0
#include "engine/uring_calls.hpp"

namespace engine {

UringCalls uring_calls{
    .queue_init_params = io_uring_queue_init_params,
    .submit = io_uring_submit,
    .submit_and_wait_timeout = io_uring_submit_and_wait_timeout,
};

}  // namespace engine
