// SPDX-License-Identifier: Apache-2.0
// Python's own file objects that hold data back: an operation on the descriptor below them would
// miss what they have not written yet, or have read ahead.
#pragma once

#include "python/refs.hpp"

namespace python {

// The types of the io module that are looked for.
struct IoTypes {
    Ref file;      // FileIO: holds nothing back
    Ref text;      // TextIOBase
    Ref buffered;  // BufferedIOBase
};

// False with an exception set.
bool import_io_types(IoTypes& types);

// Returns `object` if it is a buffered or text file. If it is a wrapper, as of a temporary file or
// of anyio's and Trio's, returns the buffered or text file inside. Else returns null. Runs no
// Python code of the program's.
Ref find_buffered_file(const IoTypes& types, PyObject* object);

// Returns false if the file is in text mode, with a ValueError that says what to do.
bool check_not_text(const IoTypes& types, PyObject* buffered);

// Raises that ValueError.
void raise_is_text(PyObject* file);

// As check_not_text(), if the file object holds data back: if its position is not that of its
// descriptor `fd`. Pipes and the like have no position, so the function can't tell, and returns
// true.
bool check_holds_nothing(PyObject* buffered, int fd);

}  // namespace python
