// SPDX-License-Identifier: Apache-2.0
// Waits until a file is ready, as poll(2) does. Workers never carry out polls: the I/O thread waits
// for many at once.
#include <cerrno>
#include <cstddef>

#ifdef LINUX_AIO_LIBURING
#include <liburing.h>
#endif

#include "engine/operations/operations.hpp"

namespace engine {
namespace {

void fill_iocb(iocb& block, const OperationData& operation) noexcept {
    block.u.poll.events = operation.poll_events;
}

std::int64_t carry_out(const OperationData& /*operation*/, const Target& /*target*/) noexcept {
    return -EINVAL;
}

#ifdef LINUX_AIO_LIBURING

void fill_entry(io_uring_sqe& entry, const OperationData& operation, int fd) noexcept {
    io_uring_prep_poll_add(&entry, fd, operation.poll_events);
}

#else

constexpr std::nullptr_t fill_entry = nullptr;

#endif

}  // namespace

constinit const OperationType operations::poll{IO_CMD_POLL, fill_iocb, fill_entry, carry_out};

}  // namespace engine
