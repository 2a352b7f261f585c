// SPDX-License-Identifier: Apache-2.0
#include "python/call_methods.hpp"

#include <cerrno>
#include <climits>
#include <utility>

#include "python/awaitable.hpp"
#include "python/context.hpp"
#include "python/operation.hpp"

namespace python {

PyObject* argument(Arguments arguments, std::size_t place) {
    return place < arguments.size() && arguments[place] != Py_None ? arguments[place] : nullptr;
}

std::optional<std::int64_t> to_c_integer(PyObject* given, const char* name, std::int64_t least,
                                         std::int64_t most) {
    const auto number = to_integer(given, name, least, most);
    if (!number && PyErr_ExceptionMatches(PyExc_ValueError) != 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_OverflowError, "%s must be from %lld to %lld, not %R", name,
                     static_cast<long long>(least), static_cast<long long>(most), given);
    }
    return number;
}

bool to_int(Arguments arguments, std::size_t place, const char* name, int& value) {
    if (PyObject* given = argument(arguments, place); given != nullptr) {
        const auto number = to_c_integer(given, name, INT_MIN, INT_MAX);
        value = static_cast<int>(number.value_or(0));
        return number.has_value();
    }
    return true;
}

bool to_int64(Arguments arguments, std::size_t place, const char* name, std::int64_t& value) {
    if (PyObject* given = argument(arguments, place); given != nullptr) {
        const auto number = to_c_integer(given, name, INT64_MIN, INT64_MAX);
        value = number.value_or(0);
        return number.has_value();
    }
    return true;
}

bool to_bool(Arguments arguments, std::size_t place, bool& value) {
    if (PyObject* given = argument(arguments, place); given != nullptr) {
        const int truth = PyObject_IsTrue(given);
        value = truth != 0;
        return truth >= 0;
    }
    return true;
}

bool encode(PyObject* given, Ref& path) {
    PyObject* bytes = nullptr;
    if (given == nullptr) {
        PyErr_SetString(PyExc_TypeError, "path should be string, bytes or os.PathLike, not None");
        return false;
    }
    if (PyUnicode_FSConverter(given, &bytes) == 0) {
        return false;
    }
    path = Ref::steal(bytes);
    return true;
}

// Whether the kernel looks at the directory's descriptor.
bool begins_at_directory(const char* path) { return path[0] != '\0' && path[0] != '/'; }

bool find_place(CallDetails& details, PyObject* given, PyObject* dir_fd, bool takes_fd,
                Place& place) {
    if (takes_fd && given != nullptr && PyIndex_Check(given)) {
        const auto number = to_c_integer(given, "path", INT_MIN, INT_MAX);
        if (!number) {
            return false;
        }
        if (dir_fd != nullptr) {
            PyErr_Format(PyExc_ValueError, "%s: can't specify dir_fd without matching path",
                         details.name);
            return false;
        }
        place.fd = static_cast<int>(*number);
        details.filename = Ref::borrow(given);
        // some negative numbers (AT_FDCWD) would stand for the working directory
        place.fd = place.fd < 0 ? -1 : place.fd;
        return true;
    }
    if (!encode(given, details.path)) {
        return false;
    }
    details.filename = Ref::steal(PyOS_FSPath(given));
    if (!details.filename) {
        return false;
    }
    place.path = PyBytes_AS_STRING(details.path.get());
    if (dir_fd != nullptr) {
        const auto number = to_c_integer(dir_fd, "dir_fd", INT_MIN, INT_MAX);
        if (!number) {
            return false;
        }
        if (begins_at_directory(place.path)) {
            place.fd = static_cast<int>(*number);
        }
    }
    return true;
}

Details make_details(const char* name, CallDetails::MakeResult make_result) {
    auto details = Details(new (std::nothrow) CallDetails);
    if (details == nullptr) {
        PyErr_NoMemory();
        return details;
    }
    details->name = name;
    details->make_result = make_result;
    return details;
}

PyObject* start_call(PyObject* context_object, Details details, int fd, int second_fd) {
    auto* context = static_cast<ContextObject*>(context_object);
    auto& state = state_of(context);
    const char* name = details->name;
    auto* operation = state.free_operations.allocate(state.operation_type);
    if (operation == nullptr) {
        return nullptr;
    }
    const auto owner = Ref::steal(operation);
    PyObject_GC_Track(operation);
    operation->kind = OperationKind::call;
    operation->file.set_number(fd);
    operation->request.opcode = engine::Opcode::call;
    operation->request.call = details->call.get();
    operation->request.second_fd = second_fd;
    operation->details = std::move(details);
    return make_awaitable(context, operation, true, name);
}

PyObject* none_result(const ModuleState& /*state*/, CallDetails& /*details*/,
                      std::int64_t /*result*/) {
    Py_RETURN_NONE;
}

PyObject* number_result(const ModuleState& /*state*/, CallDetails& /*details*/,
                        std::int64_t result) {
    return PyLong_FromLongLong(result);
}

PyObject* bool_result(const ModuleState& /*state*/, CallDetails& /*details*/, std::int64_t result) {
    return PyBool_FromLong(result != 0 ? 1 : 0);
}

}  // namespace python
