// SPDX-License-Identifier: Apache-2.0
// What linux_aio.File and TextFile are made of in C++: what can be answered from a buffer.
//
// A method such as read() returns a FileCall, a coroutine. Its first step answers from the buffers
// here, if they have what is asked for and no other call has its turn. Else it runs a coroutine of
// the subclass in linux_aio/files.py (`_read_slow` and its like), which awaits operations.
//
// The buffers are of bytes in _FileBase, and of str in _TextBase, which has a _FileBase beneath it.
#pragma once

#include <cstdint>

#include "python/file_buffer.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

struct FileBase {
    ModuleState* state = nullptr;
    ReadBuffer reading;
    WriteBuffer writing;
    Ref request;  // an awaitable that was started, of a write on its way; or null
    // Where the file is read or written next: behind `reading`, or behind `writing`.
    long long offset = 0;
    Py_ssize_t limit = 0;  // how many bytes are gathered before they are written
    char is_open = 0;
    char is_readable = 0;
    char is_writable = 0;
    char is_busy = 0;      // a call that moves the position has its turn
    char is_behind = 0;    // bytes are on their way to the file, or could not be written
    char goes_slowly = 0;  // every call goes to the subclass: an unbuffered file
};

struct FileBaseObject : PyObject, FileBase {};

// How lines of text end.
enum class LineEnd : int {
    newline = 0,    // "\n", also what the decoder made of others
    universal = 1,  // "\n", "\r" and "\r\n", left as they are
    carriage_return = 2,
    both = 3,  // "\r\n"
};

// How text becomes bytes.
enum class Encoding : int {
    other = 0,  // by the subclass's encoder
    utf8 = 1,   // strict
    ascii = 2,  // only what is ASCII; the rest by the encoder
};

struct TextBase {
    ModuleState* state = nullptr;
    Ref file;                 // a _FileBase, or null
    Ref text;                 // decoded, or null
    Py_ssize_t position = 0;  // in `text`
    int line_end = 0;         // a LineEnd
    int encoding = 0;         // an Encoding
    char is_iterating = 0;    // tell() is off: __anext__ was called
    char translates = 0;      // "\n" is written as something else
    char goes_slowly = 0;     // every write goes to the subclass: line by line, or unbuffered
};

struct TextBaseObject : PyObject, TextBase {};

PyTypeObject* add_file_base_type(PyObject* module);
PyTypeObject* add_text_base_type(PyObject* module);

// The one argument of read() and readline(): an integer, or None or left out, which leaves `size`
// as it is. False with an exception set.
bool parse_size(const char* method, PyObject* const* arguments, Py_ssize_t count, Py_ssize_t& size);

// For text on top of a file: whether what was read may be given out without asking the subclass,
// and gathers bytes if that can be done at once (else false, or with MemoryError).
bool may_read_text(const FileBase* file) noexcept;
bool gather_at_once(FileBase* file, const char* data, Py_ssize_t count);

// What a FileCall does without waiting. Each returns the result, or null: with an exception, or
// with none if the subclass has to do it. The object is locked.
PyObject* read_at_once(PyObject* file, Py_ssize_t size);
PyObject* read_line_at_once(PyObject* file, Py_ssize_t limit);
PyObject* write_at_once(PyObject* file, PyObject* data);
PyObject* read_text_at_once(PyObject* file, Py_ssize_t size);
PyObject* read_text_line_at_once(PyObject* file, Py_ssize_t limit);
PyObject* write_text_at_once(PyObject* file, PyObject* text);

}  // namespace python
