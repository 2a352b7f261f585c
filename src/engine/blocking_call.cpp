// SPDX-License-Identifier: Apache-2.0
#include "engine/blocking_call.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

namespace engine {
namespace {

// <linux/ioprio.h>'s, which is not among the headers of every system.
constexpr int ioprio_who_process = 1;

static_assert(sizeof(off_t) == sizeof(std::int64_t));

std::int64_t result_of(std::int64_t status) noexcept { return status < 0 ? -errno : status; }

std::int64_t transfer_once(const Request& request, int fd, bool is_stream, int flags) noexcept {
    const bool is_vector = is_vectored(request.opcode);
    if (!is_vector && !is_stream && flags == 0) {
        // a few percent cheaper than a vector of one
        const auto offset = static_cast<off_t>(request.offset);
        return result_of(is_read(request.opcode)
                             ? pread(fd, request.address, request.length, offset)
                             : pwrite(fd, request.address, request.length, offset));
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

// The type of the file, in the bits of S_IFMT. fstat(2) may ask a server; not every sandbox has
// statx(2).
std::optional<unsigned> type_of(int fd) noexcept {
    struct statx status{};
    constexpr int asks_no_server = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    if (statx(fd, "", asks_no_server, STATX_TYPE, &status) == 0) {
        return status.stx_mode & unsigned{S_IFMT};
    }
    struct stat older{};
    if (fstat(fd, &older) == 0) {
        return older.st_mode & unsigned{S_IFMT};
    }
    return std::nullopt;
}

}  // namespace

bool is_stream(int fd) noexcept {
    const auto type = type_of(fd);
    if (!type) {
        return false;
    }
    switch (*type) {
        case S_IFREG:
        case S_IFBLK:
        case S_IFDIR:
            return false;
        case S_IFCHR:
            return lseek(fd, 0, SEEK_CUR) < 0;
        default:  // some, as eventfds, have no type
            return true;
    }
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
