// SPDX-License-Identifier: Apache-2.0
// One request to the kernel, as every engine takes it.
#pragma once

#include <libaio.h>

#include <cstddef>
#include <cstdint>

namespace engine {

// The kernel's own numbers (IOCB_CMD_* of <linux/aio_abi.h>): AIOOperation.opcode shows them.
enum class Opcode : std::uint16_t {
    read = IO_CMD_PREAD,
    write = IO_CMD_PWRITE,
    fsync = IO_CMD_FSYNC,
    fdsync = IO_CMD_FDSYNC,
    poll = IO_CMD_POLL,
    readv = IO_CMD_PREADV,
    writev = IO_CMD_PWRITEV,
};

// From a successful submission until reap() returns it, an engine and the kernel refer to the
// request and to all that it points to: it must neither move nor go away.
struct Request {
    Opcode opcode{};
    int fd = -1;
    std::uint64_t offset = 0;
    void* address = nullptr;  // the buffer, or for readv and writev the array of iovec
    std::size_t length = 0;   // bytes, or for readv and writev the number of iovec
    int rw_flags = 0;         // RWF_*
    std::uint16_t poll_events = 0;
    std::uint16_t priority = 0;  // ioprio; 0: that of the submitting thread
    int eventfd = -1;            // to be signalled upon completion; -1: none

    // The engines' own.
    bool cancelled = false;
    iocb control_block{};
};

}  // namespace engine
