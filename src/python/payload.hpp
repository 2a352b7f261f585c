// SPDX-License-Identifier: Apache-2.0
// The program's own buffers, which an operation reads into or writes from.
#pragma once

#include "python/operation.hpp"

namespace python {

// Takes the program's buffer, or for readv and writev its sequence of buffers. False with an
// exception set, and nothing changed.
bool set_payload(Operation& operation, PyObject* given);

// Whether the program could change the memory that it gave, or see it change.
bool has_mutable_payload(const Operation& operation) noexcept;

// Has the program's memory exported for a submission. May run Python code. False with an exception
// set.
bool prepare_payload(Operation& operation);

}  // namespace python
