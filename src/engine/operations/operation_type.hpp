// SPDX-License-Identifier: Apache-2.0
// How each operation is carried out: one file of this directory for each, and a line in table.cpp.
//
// An operation that kernel AIO or io_uring can't carry out leaves their function out: workers carry
// it out.
#pragma once

#include <libaio.h>

#include <cstdint>

#include "engine/request.hpp"

struct io_uring_sqe;

namespace engine {

// The file that a worker acts on, and how.
struct Target {
    int fd = -1;             // in the calling thread's table
    bool is_stream = false;  // the file has no offsets
    int extra_flags = 0;     // RWF_* beside the operation's own
};

// Carries an operation out, in a thread that may wait: returns what the system call did, or a
// negative errno.
using CarryOut = std::int64_t (*)(const OperationData& operation, const Target& target) noexcept;

struct OperationType {
    // IOCB_CMD_* of <linux/aio_abi.h>, which AIOOperation.opcode shows; -1: none.
    int kernel_number = -1;

    // For kernel AIO: fills in the fields that differ from operation to operation.
    void (*fill_iocb)(iocb& block, const OperationData& operation) noexcept = nullptr;

    // For io_uring(7): the same, with this fd.
    void (*fill_entry)(io_uring_sqe& entry, const OperationData& operation,
                       int fd) noexcept = nullptr;

    CarryOut carry_out = nullptr;
};

const OperationType& type_of(Opcode opcode) noexcept;

}  // namespace engine
