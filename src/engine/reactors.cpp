// SPDX-License-Identifier: Apache-2.0
#include "engine/reactors.hpp"

#include <cerrno>
#include <new>

#include "engine/epoll_reactor.hpp"
#ifdef LINUX_AIO_LIBURING
#include "engine/uring_reactor.hpp"
#endif

namespace engine {

std::unique_ptr<Reactor> make_epoll_reactor(ReactorOwner& owner, int wake_fd) noexcept {
    return std::unique_ptr<Reactor>(new (std::nothrow) EpollReactor(owner, wake_fd));
}

#ifdef LINUX_AIO_LIBURING

WorkerPool::MakeReactor uring_reactor() noexcept {
    return [](ReactorOwner& owner, int wake_fd) noexcept {
        return std::unique_ptr<Reactor>(new (std::nothrow) UringReactor(owner, wake_fd));
    };
}

int probe_uring() noexcept { return UringReactor::probe(); }

const char* uring_implementation() noexcept { return LINUX_AIO_LIBURING; }

#else

WorkerPool::MakeReactor uring_reactor() noexcept { return nullptr; }

int probe_uring() noexcept { return ENOTSUP; }

const char* uring_implementation() noexcept { return "not built in"; }

#endif

}  // namespace engine
