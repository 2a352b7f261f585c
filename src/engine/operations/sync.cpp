// SPDX-License-Identifier: Apache-2.0
// fsync(2) and fdatasync(2).
#include <unistd.h>

#include <cstddef>

#ifdef LINUX_AIO_LIBURING
#include <liburing.h>
#endif

#include "engine/operations/operations.hpp"
#include "engine/operations/system_result.hpp"

namespace engine {
namespace {

void fill_iocb(iocb& /*block*/, const OperationData& /*operation*/) noexcept {}

std::int64_t carry_out(const OperationData& operation, const Target& target) noexcept {
    return result_of(operation.opcode == Opcode::fsync ? ::fsync(target.fd)
                                                       : ::fdatasync(target.fd));
}

#ifdef LINUX_AIO_LIBURING

void fill_entry(io_uring_sqe& entry, const OperationData& operation, int fd) noexcept {
    const bool is_all = operation.opcode == Opcode::fsync;
    io_uring_prep_fsync(&entry, fd, is_all ? 0 : IORING_FSYNC_DATASYNC);
}

#else

constexpr std::nullptr_t fill_entry = nullptr;

#endif

}  // namespace

constinit const OperationType operations::fsync{IO_CMD_FSYNC, fill_iocb, fill_entry, carry_out};
constinit const OperationType operations::fdsync{IO_CMD_FDSYNC, fill_iocb, fill_entry, carry_out};

}  // namespace engine
