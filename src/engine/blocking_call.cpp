// SPDX-License-Identifier: Apache-2.0
#include "engine/blocking_call.hpp"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace engine {
namespace {

// <linux/ioprio.h>'s, which is not among the headers of every system.
constexpr int ioprio_who_process = 1;

std::int64_t result_of(std::int64_t status) noexcept { return status < 0 ? -errno : status; }

std::int64_t transfer(const Request& request, int fd, bool is_stream, int flags) noexcept {
    const iovec single{.iov_base = request.address, .iov_len = request.length};
    const bool is_vector = is_vectored(request.opcode);
    const auto* parts = is_vector ? static_cast<const iovec*>(request.address) : &single;
    const int count = is_vector ? static_cast<int>(request.length) : 1;
    const auto offset = is_stream ? ~std::uint64_t{0} : request.offset;
    const long number = is_read(request.opcode) ? __NR_preadv2 : __NR_pwritev2;
    std::int64_t result = 0;
    do {
        // directly, for not every C library has the function, nor with 64-bit offsets; the kernel
        // takes those in two halves on every machine
        result = result_of(syscall(number, fd, parts, count, static_cast<unsigned long>(offset),
                                   static_cast<unsigned long>(offset >> 32U), flags));
    } while (result == -EINTR);
    return result;
}

int set_priority(std::uint16_t priority) noexcept {
    return static_cast<int>(result_of(syscall(__NR_ioprio_set, ioprio_who_process, 0, priority)));
}

}  // namespace

bool is_stream(int fd) noexcept {
    struct stat status{};
    if (fstat(fd, &status) != 0 || S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) ||
        S_ISDIR(status.st_mode)) {
        return false;
    }
    return !S_ISCHR(status.st_mode) || lseek(fd, 0, SEEK_CUR) < 0;
}

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
            return transfer(request, fd, is_stream, (request.rw_flags & ~RWF_HIPRI) | extra_flags);
    }
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
