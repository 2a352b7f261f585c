// SPDX-License-Identifier: Apache-2.0
#include "engine/blocking_call.hpp"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace engine {
namespace {

// <linux/ioprio.h>'s, which is not among the headers of every system.
constexpr int ioprio_who_process = 1;

static_assert(sizeof(off_t) == sizeof(std::int64_t));

std::int64_t result_of(std::int64_t status) noexcept { return status < 0 ? -errno : status; }

// Without flags, where neither kernel nor sandbox has anything against it; also a few percent
// cheaper.
std::int64_t transfer_buffer(const Request& request, int fd, bool is_stream) noexcept {
    const auto offset = static_cast<off_t>(request.offset);
    if (is_read(request.opcode)) {
        return result_of(is_stream ? read(fd, request.address, request.length)
                                   : pread(fd, request.address, request.length, offset));
    }
    return result_of(is_stream ? write(fd, request.address, request.length)
                               : pwrite(fd, request.address, request.length, offset));
}

std::int64_t transfer_vector(const Request& request, int fd, bool is_stream) noexcept {
    const auto* parts = static_cast<const iovec*>(request.address);
    const int count = static_cast<int>(request.length);
    const auto offset = static_cast<off_t>(request.offset);
    if (is_read(request.opcode)) {
        return result_of(is_stream ? readv(fd, parts, count) : preadv(fd, parts, count, offset));
    }
    return result_of(is_stream ? writev(fd, parts, count) : pwritev(fd, parts, count, offset));
}

std::int64_t transfer_once(const Request& request, int fd, bool is_stream, int flags) noexcept {
    const bool is_vector = is_vectored(request.opcode);
    if (flags == 0 && is_vector) {
        return transfer_vector(request, fd, is_stream);
    }
    if (flags == 0) {
        return transfer_buffer(request, fd, is_stream);
    }
    const iovec single{.iov_base = request.address, .iov_len = request.length};
    const auto* parts = is_vector ? static_cast<const iovec*>(request.address) : &single;
    const int count = is_vector ? static_cast<int>(request.length) : 1;
    const auto offset = is_stream ? ~std::uint64_t{0} : request.offset;
    const long number = is_read(request.opcode) ? __NR_preadv2 : __NR_pwritev2;
    // directly, for not every C library has the function, nor with 64-bit offsets; the kernel takes
    // those in two halves on every machine
    return result_of(syscall(number, fd, parts, count, static_cast<unsigned long>(offset),
                             static_cast<unsigned long>(offset >> 32U), flags));
}

std::int64_t transfer(const Request& request, int fd, bool is_stream, int flags) noexcept {
    std::int64_t result = 0;
    do {
        result = transfer_once(request, fd, is_stream, flags);
    } while (result == -EINTR);
    return result;
}

int set_priority(std::uint16_t priority) noexcept {
    return static_cast<int>(result_of(syscall(__NR_ioprio_set, ioprio_who_process, 0, priority)));
}

}  // namespace

std::int64_t carry_out(const Request& request, int fd, bool is_stream, int extra_flags) noexcept {
    switch (request.opcode) {
        case Opcode::fsync:
            return result_of(fsync(fd));
        case Opcode::fdsync:
            return result_of(fdatasync(fd));
        case Opcode::poll:
            return -EINVAL;
        default:
            // Nobody polls for these completions: kernel AIO ignores the flag, too.
            break;
    }
    const auto result =
        transfer(request, fd, is_stream, (request.rw_flags & ~RWF_HIPRI) | extra_flags);
    // an older kernel, or a sandbox, may have the calls without flags only
    const bool is_refused = result == -ENOSYS || result == -EPERM;
    return is_refused && extra_flags != 0 ? -EOPNOTSUPP : result;
}

std::int64_t carry_out_with_priority(const Request& request, int fd, bool is_stream) noexcept {
    if (request.priority == 0) {
        return carry_out(request, fd, is_stream, 0);
    }
    if (const int status = set_priority(request.priority); status < 0) {
        return status;
    }
    const auto result = carry_out(request, fd, is_stream, 0);
    set_priority(0);
    return result;
}

}  // namespace engine
