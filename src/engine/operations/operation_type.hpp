// SPDX-License-Identifier: Apache-2.0
// How each operation is carried out. Each operation has a file in this directory and a line in
// table.cpp.
//
// If kernel AIO or io_uring can't carry out an operation, its function for them is null, and
// workers carry it out.
#pragma once

#include <libaio.h>

#include <cstdint>

#include "engine/request.hpp"

struct io_uring_sqe;

namespace engine {

// The file that a worker transfers from or to, and in what way.
struct Target {
    int fd = -1;             // in the calling thread's table
    bool is_stream = false;  // the file has no offsets
    int extra_flags = 0;     // RWF_* in addition to the operation's own
};

// Carries out an operation in a thread that may wait. Returns the result of the system call, or a
// negative errno.
using CarryOut = std::int64_t (*)(const OperationData& operation, const Target& target) noexcept;

struct OperationType {
    // IOCB_CMD_* of <linux/aio_abi.h>, which AIOOperation.opcode shows; -1: none.
    int kernel_number = -1;

    // For kernel AIO: fills in the fields that differ from operation to operation.
    void (*fill_iocb)(iocb& block, const OperationData& operation) noexcept = nullptr;

    // For io_uring(7): fills in these fields, for the file `fd`.
    void (*fill_entry)(io_uring_sqe& entry, const OperationData& operation,
                       int fd) noexcept = nullptr;

    CarryOut carry_out = nullptr;
};

const OperationType& type_of(Opcode opcode) noexcept;

}  // namespace engine
