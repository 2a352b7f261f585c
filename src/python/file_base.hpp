// SPDX-License-Identifier: Apache-2.0
// The C++ base classes of linux_aio.File and TextFile. They answer calls from a buffer where they
// can.
//
// A method such as read() returns a FileCall, a coroutine. If the buffers hold what was asked
// for and no other call holds the lock, the first step of the coroutine answers from them. Else it
// runs a coroutine of the subclass (`_read_slow` and its like, in linux_aio/_file.py and
// _text_file.py), which awaits operations. A read that finds the buffer empty may also begin
// with one request of its own: see ReadRequest.
//
// The buffers hold bytes in _FileBase, and str in _TextBase, which has a _FileBase beneath it.
#pragma once

#include <cstdint>

#include "engine/fork_guard.hpp"
#include "python/file_buffer.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

struct FileBase {
    ModuleState* state = nullptr;
    engine::ForkGuard fork_guard;  // a child of the process has no use of the file
    ReadBuffer reading;
    WriteBuffer writing;
    Ref request;  // the awaitable of a write that was started, or null
    // The context, if a read may begin with one request to it: of a file that has offsets and is
    // not read ahead. Else null.
    Ref reader;
    int fd = -1;
    int data_fd = -1;         // the descriptor that reads use
    int beside = 0;           // calls that use the descriptor without the lock
    long long file_size = 0;  // of a regular file when it was opened
    Py_ssize_t chunk = 0;     // how many bytes are read at least
    // The offset at which the file is read next, after the bytes of `reading`, or written next,
    // after those of `writing`.
    long long offset = 0;
    Py_ssize_t limit = 0;  // how many bytes are gathered before they are written
    char is_open = 0;
    char is_readable = 0;
    char is_writable = 0;
    char is_locked = 0;        // by a call that moves the position
    char is_behind = 0;        // bytes are on their way to the file, or could not be written
    char closes_fd = 0;        // close() closes the descriptor, and has no other work with it
    char releases_slowly = 0;  // more has to be done than to unlock: see File._release()
    char goes_slowly = 0;      // every call goes to the subclass: an unbuffered file
};

struct FileBaseObject : PyObject, FileBase {};

// How lines of text end.
enum class LineEnd : int {
    newline = 0,    // "\n"; the decoder has turned other line ends into it
    universal = 1,  // "\n", "\r" and "\r\n", left as they are
    carriage_return = 2,
    both = 3,  // "\r\n"
};

// How text becomes bytes.
enum class Encoding : int {
    other = 0,  // by the subclass's encoder
    utf8 = 1,   // strict
    ascii = 2,  // ASCII text; the subclass's encoder does the rest
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

// Parses the one argument of read() and readline(): an integer; None or no argument leaves `size`
// as it is. Returns false with an exception set.
bool parse_size(const char* method, PyObject* const* arguments, Py_ssize_t count, Py_ssize_t& size);

// For text on top of a file. may_read_text() returns whether text that was read may be returned
// without asking the subclass. gather_at_once() gathers the bytes if it can do so without waiting;
// else it returns false, perhaps with MemoryError.
bool may_read_text(const FileBase* file) noexcept;
bool gather_at_once(FileBase* file, const char* data, Py_ssize_t count);

// The part of a FileCall that does not wait. Each function returns the result, or null: with an
// exception set, or without one if the subclass has to do the work. Called with the object locked.
PyObject* read_at_once(PyObject* file, Py_ssize_t size);
PyObject* read_line_at_once(PyObject* file, Py_ssize_t limit);
PyObject* write_at_once(PyObject* file, PyObject* data);
PyObject* read_text_at_once(PyObject* file, Py_ssize_t size);
PyObject* read_text_line_at_once(PyObject* file, Py_ssize_t limit);
PyObject* write_text_at_once(PyObject* file, PyObject* text);

// A call that begins with one request to the context. begin() takes the lock of the file and
// returns the awaitable of the request; null without an exception: the subclass has to do all.
// end() is called with the result of the request. It returns the result of the call, or null
// without an exception: the subclass has to do the rest.
struct ReadRequest {
    static Ref begin(PyObject* file, Py_ssize_t size, bool& has_lock);
    static PyObject* end(PyObject* file, Py_ssize_t size, PyObject* bytes);
};
struct CloseRequest {
    static Ref begin(PyObject* file, Py_ssize_t unused, bool& has_lock);
    static PyObject* end(PyObject* file, Py_ssize_t unused, PyObject* none);
};

// Releases the lock of the file. Returns false with an exception set, as one of a signal handler:
// the lock is released all the same. Called without an exception set.
bool release_lock(PyObject* file);

}  // namespace python
