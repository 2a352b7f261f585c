// SPDX-License-Identifier: Apache-2.0
// The kinds of reactors that were built in.
#pragma once

#include "engine/worker_pool.hpp"

namespace engine {

std::unique_ptr<Reactor> make_epoll_reactor(ReactorOwner& owner, int wake_fd) noexcept;

// The function that makes a reactor on io_uring; null if it was not built in.
WorkerPool::MakeReactor uring_reactor() noexcept;

// 0 if io_uring can be used, the errno for which the kernel refuses it, or ENOTSUP if it was not
// built in.
int probe_uring() noexcept;

// The version of liburing, in words for build_info().
const char* uring_implementation() noexcept;

}  // namespace engine
