// SPDX-License-Identifier: Apache-2.0
// The private methods of AIOContext that read, write or copy whole files, or large parts, in one
// step. linux_aio/_whole_files.py, fs.py and fsspec.py use them. Each returns an awaitable, as
// AIOContext.read() does.
#pragma once

#include <span>

#include "python/call_methods.hpp"

namespace python {

// At most most_call_methods.
std::span<const PyMethodDef> whole_file_methods();

}  // namespace python
