// SPDX-License-Identifier: Apache-2.0
#include "engine/blocking_call.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "engine/operations/operation_type.hpp"
#include "engine/operations/system_result.hpp"

namespace engine {
namespace {

// <linux/ioprio.h>'s, which is not among the headers of every system.
constexpr int ioprio_who_process = 1;

int set_priority(std::uint16_t priority) noexcept {
    return static_cast<int>(result_of(syscall(__NR_ioprio_set, ioprio_who_process, 0, priority)));
}

}  // namespace

std::int64_t carry_out(const OperationData& operation, int fd, bool is_stream, int extra_flags,
                       const bool* cancelled) noexcept {
    const auto& type = type_of(operation.opcode);
    const Target target{.fd = fd, .is_stream = is_stream, .extra_flags = extra_flags};
    auto result = type.carry_out(operation, target);
    while (result == -EINTR) {
        if (cancelled != nullptr && is_set(*cancelled)) {
            return -ECANCELED;
        }
        result = type.carry_out(operation, target);
    }
    return result;
}

std::int64_t carry_out_with_priority(const OperationData& operation, int fd, bool is_stream,
                                     const bool* cancelled) noexcept {
    if (operation.priority == 0) {
        return carry_out(operation, fd, is_stream, 0, cancelled);
    }
    if (const int status = set_priority(operation.priority); status < 0) {
        return status;
    }
    const auto result = carry_out(operation, fd, is_stream, 0, cancelled);
    set_priority(0);
    return result;
}

}  // namespace engine
