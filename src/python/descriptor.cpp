// SPDX-License-Identifier: Apache-2.0
#include "python/descriptor.hpp"

#include <climits>

#include "python/arguments.hpp"
#include "python/buffered_files.hpp"
#include "python/eventfd.hpp"
#include "python/moving_positions.hpp"

namespace python {
namespace {

std::optional<int> to_number(PyObject* integer, const char* parameter) {
    if (PyBool_Check(integer)) {
        PyErr_Format(PyExc_TypeError, "%s must be a descriptor's number, not bool", parameter);
        return std::nullopt;
    }
    const auto value = to_integer(integer, parameter, INT_MIN, INT_MAX);
    return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

std::optional<int> call_fileno(PyObject* object) {
    const auto number = Ref::steal(PyObject_CallMethod(object, "fileno", nullptr));
    return number ? to_number(number.get(), "fileno()") : std::nullopt;
}

// Returns the attribute `fileno` of an EventFD or an AIOContext.
std::optional<int> fileno_attribute(PyObject* object) {
    const auto number = Ref::steal(PyObject_GetAttrString(object, "fileno"));
    return number ? to_number(number.get(), "fileno") : std::nullopt;
}

// Returns false, with a ValueError that says what to do, if the File holds bytes back.
bool holds_nothing(PyObject* file) {
    return static_cast<bool>(
        Ref::steal(PyObject_CallMethod(file, "_check_holds_nothing", nullptr)));
}

std::optional<int> checked(int fd) { return fd < 0 ? std::nullopt : std::optional(fd); }

}  // namespace

bool File::assign(const ModuleState& state, PyObject* given, bool moves_data) {
    if (PyLong_Check(given)) {
        given_ = Given::number;
        const auto number = to_number(given, "fd");
        number_ = number.value_or(-1);
        return number.has_value();
    }
    if (Py_IS_TYPE(given, state.eventfd_type) || Py_IS_TYPE(given, state.context_type)) {
        given_ = Given::ours;
    } else {
        if (const auto method = Ref::steal(PyObject_GetAttrString(given, "fileno")); !method) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError) != 0) {
                PyErr_Clear();
                const bool is_path =
                    PyUnicode_Check(given) || PyObject_HasAttrString(given, "__fspath__");
                PyErr_Format(PyExc_TypeError,
                             "fd must be an int, an EventFD, an AIOContext or an object with a "
                             "fileno() method, not %.200s%s",
                             Py_TYPE(given)->tp_name, is_path ? " (open the file first)" : "");
            }
            return false;
        }
        given_ = Given::object;
        if (moves_data && !look_for_buffers(state, given)) {
            return false;
        }
    }
    object_ = Ref::borrow(given);
    return true;
}

// Notes the file object whose buffers an operation on the descriptor would pass by. Returns false
// with a ValueError if it is in text mode.
bool File::look_for_buffers(const ModuleState& state, PyObject* given) {
    if (PyObject_TypeCheck(given, state.text_base_type)) {
        raise_is_text(given);
        return false;
    }
    if (PyObject_TypeCheck(given, state.file_base_type)) {
        given_ = Given::file;
        return true;
    }
    buffered_ = find_buffered_file(state.io, given);
    return !buffered_ || check_not_text(state.io, buffered_.get());
}

std::optional<int> File::ask() {
    std::optional<int> number = number_;
    switch (given_) {
        case Given::number:
            break;
        case Given::ours:
            number = fileno_attribute(object_.get());
            break;
        case Given::object:
            number = call_fileno(object_.get());
            if (number && buffered_ && !may_be_moving(*number)) {
                const auto held = Ref::borrow(buffered_.get());
                number = check_holds_nothing(held.get(), *number) ? number : std::nullopt;
            }
            break;
        case Given::file:
            number = call_fileno(object_.get());
            if (number && !holds_nothing(object_.get())) {
                number = std::nullopt;
            }
            break;
    }
    number_ = number.value_or(number_);
    return number;
}

int File::traverse(visitproc visit, void* arg) const {
    Py_VISIT(object_.get());
    Py_VISIT(buffered_.get());
    return 0;
}

std::optional<int> eventfd_number(const ModuleState& state, PyObject* given) {
    if (Py_IS_TYPE(given, state.eventfd_type)) {
        return checked(fileno_of(static_cast<EventFDObject*>(given)));
    }
    if (PyLong_Check(given) && !PyBool_Check(given)) {
        const auto value = to_integer(given, "eventfd", 0, INT_MAX);
        return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
    }
    PyErr_Format(PyExc_TypeError, "eventfd must be an EventFD or an int, not %.200s",
                 Py_TYPE(given)->tp_name);
    return std::nullopt;
}

}  // namespace python
