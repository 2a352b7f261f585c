// SPDX-License-Identifier: Apache-2.0
// What the private methods of AIOContext for calls share: they convert their arguments, which are
// positional, put the call and what it points to into CallDetails, and start it.
#pragma once

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>

#include "python/arguments.hpp"
#include "python/call_details.hpp"
#include "python/refs.hpp"

namespace python {

using Arguments = std::span<PyObject* const>;
using Details = std::unique_ptr<CallDetails>;

// Returns null if the argument is None or was not given.
PyObject* argument(Arguments arguments, std::size_t place);

// Like to_integer(), but raises the exception that os raises for numbers that are too large.
std::optional<std::int64_t> to_c_integer(PyObject* given, const char* name, std::int64_t least,
                                         std::int64_t most);

// They convert an argument. None or no argument leaves `value` as it is. They return false with an
// exception set if that fails.
bool to_int(Arguments arguments, std::size_t place, const char* name, int& value);
bool to_int64(Arguments arguments, std::size_t place, const char* name, std::int64_t& value);
bool to_bool(Arguments arguments, std::size_t place, bool& value);

// Encodes a path. False with TypeError or ValueError if it is none.
bool encode(PyObject* given, Ref& path);

// Whether the kernel looks at the directory's descriptor.
bool begins_at_directory(const char* path);

// The file of a call: a path, which starts at `fd` if it is relative, or a descriptor.
struct Place {
    int fd = AT_FDCWD;
    const char* path = nullptr;  // null: fd is the file
};

// Sets `place` from the first argument of a call: a path, relative to dir_fd, or, if `takes_fd` is
// set, a descriptor.
bool find_place(CallDetails& details, PyObject* given, PyObject* dir_fd, bool takes_fd,
                Place& place);

// Null with MemoryError.
Details make_details(const char* name, CallDetails::MakeResult make_result);

// Null with MemoryError.
template <class Made, class... Values>
bool set_call(CallDetails& details, Values... values) {
    details.call.reset(new (std::nothrow) Made(values...));
    if (details.call == nullptr) {
        PyErr_NoMemory();
    }
    return details.call != nullptr;
}

template <class Made>
Made& call_of(CallDetails& details) {
    return static_cast<Made&>(*details.call);
}

// Returns an awaitable that carries out the call: a new reference, or null with an exception set.
// `fd` and `second_fd` are the descriptors of the program that the call uses, AT_FDCWD or -1.
PyObject* start_call(PyObject* context, Details details, int fd, int second_fd = -1);

// --- results: None, the number that the call returned, whether it is not 0

PyObject* none_result(const ModuleState& state, CallDetails& details, std::int64_t result);
PyObject* number_result(const ModuleState& state, CallDetails& details, std::int64_t result);
PyObject* bool_result(const ModuleState& state, CallDetails& details, std::int64_t result);

// --- entries of a table of methods, which check the number of arguments

template <auto function, std::size_t least, std::size_t most>
PyObject* method(PyObject* context, PyObject* const* arguments, Py_ssize_t count) {
    const auto given = static_cast<std::size_t>(count);
    if (given < least || given > most) {
        PyErr_Format(PyExc_TypeError, "from %zu to %zu arguments are expected, not %zd", least,
                     most, count);
        return nullptr;
    }
    return function(context, {arguments, given});
}

// A table has no more of them.
inline constexpr std::size_t most_call_methods = 32;

template <auto function, std::size_t least, std::size_t most>
constexpr PyMethodDef entry(const char* name) {
    return {name, as_method(method<function, least, most>), METH_FASTCALL, nullptr};
}

}  // namespace python
