// SPDX-License-Identifier: Apache-2.0
// linux_aio.fs.DirEntry: an entry of a directory, as os.DirEntry, with its status at hand.
#pragma once

#include "engine/operations/scan_directory.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

PyTypeObject* make_dir_entry_type(PyObject* module);

// A new list of entries, whose paths begin with `directory` (a str, or bytes, or null or an int:
// none). Null with an exception set.
PyObject* make_dir_entries(const ModuleState& state, const engine::ScanCall& call,
                           PyObject* directory);

}  // namespace python
