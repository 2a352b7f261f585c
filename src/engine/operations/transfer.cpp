// SPDX-License-Identifier: Apache-2.0
// Reads and writes: preadv2(2) and pwritev2(2).
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#ifdef LINUX_AIO_LIBURING
#include <liburing.h>
#endif

#include "engine/direct_read.hpp"
#include "engine/operations/operations.hpp"
#include "engine/operations/system_result.hpp"

namespace engine {
namespace {

static_assert(sizeof(off_t) == sizeof(std::int64_t));

// <linux/aio_abi.h>'s, which <libaio.h> does not have.
constexpr unsigned flag_ioprio = 1U << 1U;

void fill_iocb(iocb& block, const OperationData& operation) noexcept {
    block.u.c.buf = operation.address;
    block.u.c.nbytes = operation.length;
    block.u.c.offset = static_cast<long long>(operation.offset);
    block.aio_rw_flags = static_cast<decltype(block.aio_rw_flags)>(operation.rw_flags);
    if (operation.priority != 0) {
        block.aio_reqprio = static_cast<short>(operation.priority);
        block.u.c.flags |= flag_ioprio;
    }
}

// Whether the call is to go without an offset: read(2) instead of pread(2).
bool has_no_offset(const OperationData& operation, const Target& target) noexcept {
    return target.is_stream || operation.at_position;
}

// pread(2) and pwrite(2). In a process with several threads, the C library's are points of
// pthread_cancel(3), which costs a few percent of a small read. Where the kernel takes the offset
// in one piece, syscall(2) does without that.
ssize_t read_at(int fd, void* address, std::size_t length, off_t offset) noexcept {
    if constexpr (sizeof(long) == sizeof(off_t)) {
        return syscall(__NR_pread64, fd, address, length, offset);
    }
    return pread(fd, address, length, offset);
}

ssize_t write_at(int fd, const void* address, std::size_t length, off_t offset) noexcept {
    if constexpr (sizeof(long) == sizeof(off_t)) {
        return syscall(__NR_pwrite64, fd, address, length, offset);
    }
    return pwrite(fd, address, length, offset);
}

// Transfers by a system call without flags, which no kernel or sandbox refuses, and which is a few
// percent cheaper.
std::int64_t transfer_buffer(const OperationData& operation, const Target& target) noexcept {
    const int fd = target.fd;
    const auto offset = static_cast<off_t>(operation.offset);
    auto* address = operation.address;
    const auto length = operation.length;
    if (is_read(operation.opcode)) {
        return result_of(has_no_offset(operation, target) ? ::read(fd, address, length)
                                                          : read_at(fd, address, length, offset));
    }
    return result_of(has_no_offset(operation, target) ? ::write(fd, address, length)
                                                      : write_at(fd, address, length, offset));
}

std::int64_t transfer_vector(const OperationData& operation, const Target& target) noexcept {
    const int fd = target.fd;
    const auto* parts = static_cast<const iovec*>(operation.address);
    const int count = static_cast<int>(operation.length);
    const auto offset = static_cast<off_t>(operation.offset);
    if (is_read(operation.opcode)) {
        return result_of(has_no_offset(operation, target) ? ::readv(fd, parts, count)
                                                          : preadv(fd, parts, count, offset));
    }
    return result_of(has_no_offset(operation, target) ? ::writev(fd, parts, count)
                                                      : pwritev(fd, parts, count, offset));
}

std::int64_t transfer_with_flags(const OperationData& operation, const Target& target,
                                 int flags) noexcept {
    const bool is_vector = is_vectored(operation.opcode);
    const iovec single{.iov_base = operation.address, .iov_len = operation.length};
    const auto* parts = is_vector ? static_cast<const iovec*>(operation.address) : &single;
    const int count = is_vector ? static_cast<int>(operation.length) : 1;
    const auto offset = has_no_offset(operation, target) ? ~std::uint64_t{0} : operation.offset;
    const long number = is_read(operation.opcode) ? __NR_preadv2 : __NR_pwritev2;
    // by syscall(2), because not every C library has the function, or has it with 64-bit offsets;
    // the kernel takes the offset in two halves on every machine
    return result_of(syscall(number, target.fd, parts, count, static_cast<unsigned long>(offset),
                             static_cast<unsigned long>(offset >> 32U), flags));
}

std::int64_t transfer_once(const OperationData& operation, const Target& target,
                           int flags) noexcept {
    if (flags != 0) {
        return transfer_with_flags(operation, target, flags);
    }
    return is_vectored(operation.opcode) ? transfer_vector(operation, target)
                                         : transfer_buffer(operation, target);
}

std::int64_t carry_out(const OperationData& operation, const Target& target) noexcept {
    if (operation.is_aligned_later) {
        return read_through_aligned_memory(operation, target, carry_out);
    }
    // RWF_HIPRI is left out because no thread polls for these completions; kernel AIO ignores it,
    // too.
    const int flags = (operation.rw_flags & ~RWF_HIPRI) | target.extra_flags;
    const auto result = transfer_once(operation, target, flags);
    // an older kernel or a sandbox may have only the system calls without flags
    const bool is_refused = result == -ENOSYS || result == -EPERM;
    return is_refused && target.extra_flags != 0 ? -EOPNOTSUPP : result;
}

#ifdef LINUX_AIO_LIBURING

void fill_common(io_uring_sqe& entry, const OperationData& operation) noexcept {
    entry.rw_flags = operation.rw_flags & ~RWF_HIPRI;
    entry.ioprio = operation.priority;
}

void fill_read(io_uring_sqe& entry, const OperationData& operation, int fd) noexcept {
    io_uring_prep_read(&entry, fd, operation.address, static_cast<unsigned>(operation.length),
                       operation.offset);
    fill_common(entry, operation);
}

void fill_write(io_uring_sqe& entry, const OperationData& operation, int fd) noexcept {
    io_uring_prep_write(&entry, fd, operation.address, static_cast<unsigned>(operation.length),
                        operation.offset);
    fill_common(entry, operation);
}

void fill_readv(io_uring_sqe& entry, const OperationData& operation, int fd) noexcept {
    io_uring_prep_readv(&entry, fd, static_cast<const iovec*>(operation.address),
                        static_cast<unsigned>(operation.length), operation.offset);
    fill_common(entry, operation);
}

void fill_writev(io_uring_sqe& entry, const OperationData& operation, int fd) noexcept {
    io_uring_prep_writev(&entry, fd, static_cast<const iovec*>(operation.address),
                         static_cast<unsigned>(operation.length), operation.offset);
    fill_common(entry, operation);
}

#else

constexpr std::nullptr_t fill_read = nullptr;
constexpr std::nullptr_t fill_write = nullptr;
constexpr std::nullptr_t fill_readv = nullptr;
constexpr std::nullptr_t fill_writev = nullptr;

#endif

}  // namespace

constinit const OperationType operations::read{IO_CMD_PREAD, fill_iocb, fill_read, carry_out};
constinit const OperationType operations::write{IO_CMD_PWRITE, fill_iocb, fill_write, carry_out};
constinit const OperationType operations::readv{IO_CMD_PREADV, fill_iocb, fill_readv, carry_out};
constinit const OperationType operations::writev{IO_CMD_PWRITEV, fill_iocb, fill_writev, carry_out};

}  // namespace engine
