// SPDX-License-Identifier: Apache-2.0
// The program's own buffers, which an operation reads into or writes from.
#pragma once

#include "python/operation.hpp"

namespace python {

// Takes the program's buffer, or for readv and writev its sequence of buffers. If it can't, returns
// false with an exception set, and changes nothing.
bool set_payload(Operation& operation, PyObject* given);

// Whether the program could change the memory that it gave, or see the kernel change it.
bool has_mutable_payload(const Operation& operation) noexcept;

// Exports the program's memory for a submission. May run Python code. Returns false with an
// exception set.
bool prepare_payload(Operation& operation);

}  // namespace python
