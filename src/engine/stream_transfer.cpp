// SPDX-License-Identifier: Apache-2.0
#include "engine/stream_transfer.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <numeric>
#include <span>

#include "engine/blocking_call.hpp"
#include "engine/file_type.hpp"
#include "engine/unread_bytes.hpp"

namespace engine {
namespace {

// For kernels on which sockets refuse RWF_NOWAIT.
std::int64_t try_socket(const OperationData& operation, int fd) noexcept {
    iovec single{.iov_base = operation.address, .iov_len = operation.length};
    msghdr message{};
    message.msg_iov =
        is_vectored(operation.opcode) ? static_cast<iovec*>(operation.address) : &single;
    message.msg_iovlen = is_vectored(operation.opcode) ? operation.length : 1;
    const auto status = is_read(operation.opcode)
                            ? recvmsg(fd, &message, MSG_DONTWAIT)
                            : sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return status < 0 ? -errno : status;
}

}  // namespace

std::int64_t try_stream_transfer(const OperationData& operation, int fd) noexcept {
    if (is_read(operation.opcode)) {
        if (const auto kept = take_unread(operation, fd); kept != 0) {
            return kept;
        }
    }
    // pwritev2(2) of no bytes does not reach a socket. write(2) does, and sends an empty datagram.
    if (operation.opcode == Opcode::write && operation.length == 0) {
        if (const auto sent = try_socket(operation, fd); sent != -ENOTSOCK) {
            return sent;
        }
    }
    auto result = carry_out(operation, fd, true, RWF_NOWAIT);
    if (result == -EOPNOTSUPP && operation.rw_flags == 0) {
        result = try_socket(operation, fd);
        result = result == -ENOTSOCK ? -EOPNOTSUPP : result;
        // Terminals and FIFOs do not support RWF_NOWAIT. But with O_NONBLOCK no call waits.
        if (result == -EOPNOTSUPP && (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0) {
            result = carry_out(operation, fd, true, 0);
        }
    }
    return result;
}

bool ends_without_bytes(const OperationData& read, int fd) noexcept {
    const std::span parts(static_cast<const iovec*>(read.address),
                          is_vectored(read.opcode) ? read.length : 0);
    const auto length =
        std::accumulate(parts.begin(), parts.end(), is_vectored(read.opcode) ? 0 : read.length,
                        [](std::size_t sum, const iovec& part) { return sum + part.iov_len; });
    if (length == 0) {
        return true;
    }
    // a read of no bytes is refused for the same reasons, and does not reach the stream
    OperationData nothing{.opcode = Opcode::read, .fd = fd};
    const auto result = carry_out(nothing, fd, true, RWF_NOWAIT);
    if (result == -EBADF || result == -EINVAL) {
        return true;
    }
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0) {
        return listens != 0;
    }
    return length < 128 && length < least_read(fd);
}

std::int64_t take_from_stream(const OperationData& read, int fd) noexcept {
    const auto result = try_stream_transfer(read, fd);
    if (result != -EOPNOTSUPP || !is_read_in_step(fd)) {
        return result;
    }
    pollfd look{.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&look, 1, 0) > 0 ? carry_out(read, fd, true, 0) : -EAGAIN;
}

}  // namespace engine
