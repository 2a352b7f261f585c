// SPDX-License-Identifier: Apache-2.0
// linux_aio.fs.DirEntry: an entry of a directory, like os.DirEntry, which also holds the entry's
// status.
#pragma once

#include "engine/operations/scan_directory.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

PyTypeObject* make_dir_entry_type(PyObject* module);

// Returns a new list of entries. Their paths begin with `directory`, a str or bytes; if it is null
// or an int, the paths are the bare names. Returns null with an exception set.
PyObject* make_dir_entries(const ModuleState& state, const engine::ScanCall& call,
                           PyObject* directory);

}  // namespace python
