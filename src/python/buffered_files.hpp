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

// The buffered or text object that an object is, or that a temporary file's wrapper has; null if it
// is neither. Borrowed. Runs no Python code of the program's.
PyObject* find_buffered_file(const IoTypes& types, PyObject* object);

// False with a ValueError that says what to do, if the object is in text mode.
bool check_not_text(const IoTypes& types, PyObject* buffered);

// The same if it holds data of its own. `fd` is its number. Of pipes and the like it can't be seen.
bool check_holds_nothing(PyObject* buffered, int fd);

}  // namespace python
