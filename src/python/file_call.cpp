// SPDX-License-Identifier: Apache-2.0
#include "python/file_call.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/turn_budget.hpp"

namespace python {
namespace {

using Phase = FileCall::Phase;

FileCallObject* cast(PyObject* self) { return static_cast<FileCallObject*>(self); }

// Releases the lock, if the call has it. Returns false with an exception set. Called without an
// exception set.
bool release(FileCallObject* self) {
    return !std::exchange(self->has_lock, false) || self->method->release(self->file.get());
}

void release_quietly(FileCallObject* self) noexcept {
    if (!self->has_lock) {
        return;
    }
    const KeptException kept;
    if (!release(self)) {
        PyErr_WriteUnraisable(self->file.get());
    }
}

void finish(FileCallObject* self) noexcept {
    release_quietly(self);
    const KeptException kept;
    self->phase = Phase::finished;
    self->delegate.reset();
    self->data.reset();
    self->file.reset();
}

bool is_empty(PyObject* result) noexcept {
    return PyBytes_CheckExact(result)
               ? PyBytes_GET_SIZE(result) == 0
               : PyUnicode_Check(result) && PyUnicode_GET_LENGTH(result) == 0;
}

// Ends the call. `result` is a reference that this function owns, or null if an exception is set.
PyObject* finish_with(FileCallObject* self, PyObject* result) {
    if (self->phase == Phase::finished) {
        return result;
    }
    auto owned = Ref::steal(result);
    auto failure = owned ? Ref() : take_exception();
    const bool is_next = self->method->is_next;
    const bool has_released = release(self);
    finish(self);
    if (!has_released) {
        return nullptr;
    }
    if (failure) {
        raise(std::move(failure));
    } else if (is_next && is_empty(owned.get())) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return nullptr;
    }
    return owned.release();
}

PyObject* try_at_once(FileCallObject* self) {
    if (!self->data && self->method->read_at_once == nullptr) {
        return nullptr;
    }
    const ObjectLock lock(self->file.get());
    return self->data ? self->method->write_at_once(self->file.get(), self->data.get())
                      : self->method->read_at_once(self->file.get(), self->size);
}

// Whether the task has gone on for so long that it is to let others run. The coroutine of the
// subclass does that, once the call holds the lock, so that calls keep their order.
bool lets_others_run(const FileCallObject* self) noexcept {
    if (!self->method->has_argument) {
        return false;
    }
    auto bytes = std::max(self->size, Py_ssize_t{0});
    if (self->data) {
        bytes = PyBytes_CheckExact(self->data.get())     ? PyBytes_GET_SIZE(self->data.get())
                : PyUnicode_CheckExact(self->data.get()) ? PyUnicode_GET_LENGTH(self->data.get())
                                                         : 0;
    }
    return TurnBudget::of_this_thread().is_slice_over(
        TurnBudget::work_of_call(static_cast<std::size_t>(bytes)));
}

// Makes a coroutine of the subclass. Returns null with an exception set.
Ref make_coroutine(FileCallObject* self, const char* name) {
    if (!self->method->has_argument) {
        return Ref::steal(PyObject_CallMethod(self->file.get(), name, nullptr));
    }
    const auto argument =
        self->data ? Ref::borrow(self->data.get()) : Ref::steal(PyLong_FromSsize_t(self->size));
    return Ref::steal(argument ? PyObject_CallMethod(self->file.get(), name, "(O)", argument.get())
                               : nullptr);
}

// Makes what does the work that can't be done at once. Returns null with an exception set.
Ref make_delegate(FileCallObject* self) {
    if (self->method->begin != nullptr) {
        auto request = self->method->begin(self->file.get(), self->size, self->has_lock);
        if (request || PyErr_Occurred() != nullptr) {
            return request;
        }
    }
    return make_coroutine(self, self->method->slow);
}

// Called when the delegate has ended. Turns the result of a request into that of the call. Returns
// true if the call goes on: the delegate is then the coroutine that does the rest, with the
// lock held.
bool goes_on(FileCallObject* self, PyObject*& result) {
    if (!self->has_lock || self->does_rest || result == nullptr) {
        return false;
    }
    const auto found = Ref::steal(result);
    result = self->method->end(self->file.get(), self->size, found.get());
    if (result != nullptr || PyErr_Occurred() != nullptr) {
        return false;
    }
    // The lock stays the call's: a signal may end the coroutine before its first instruction.
    self->delegate = make_coroutine(self, self->method->rest);
    self->does_rest = static_cast<bool>(self->delegate);
    return self->does_rest;
}

// Marks that the call runs, so that code which it runs can't step it again.
class Running {
public:
    explicit Running(FileCallObject* self) noexcept : self_(Ref::borrow(self)) {
        self->is_running = true;
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { cast(self_.get())->is_running = false; }

private:
    Ref self_;
};

bool check_usable(const FileCallObject* self) {
    if (self->is_running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return false;
    }
    if (self->phase == Phase::finished) {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'", self->method->name);
        return false;
    }
    return true;
}

PySendResult step_delegate(FileCallObject* self, PyObject* value, PyObject** result) {
    do {
        if (PyIter_Send(self->delegate.get(), value, result) == PYGEN_NEXT) {
            return PYGEN_NEXT;
        }
        value = Py_None;
    } while (goes_on(self, *result));
    *result = finish_with(self, *result);
    return *result != nullptr ? PYGEN_RETURN : PYGEN_ERROR;
}

PySendResult step(FileCallObject* self, PyObject* value, PyObject** result) {
    *result = nullptr;
    if (!check_usable(self)) {
        return PYGEN_ERROR;
    }
    const Running running(self);
    if (self->phase == Phase::created) {
        self->phase = Phase::delegating;
        const bool waits_first = lets_others_run(self);
        *result = waits_first ? nullptr : try_at_once(self);
        if (*result == nullptr && PyErr_Occurred() == nullptr) {
            self->delegate =
                waits_first ? make_coroutine(self, self->method->slow) : make_delegate(self);
        }
        if (!self->delegate) {
            *result = finish_with(self, *result);
            return *result != nullptr ? PYGEN_RETURN : PYGEN_ERROR;
        }
    }
    return step_delegate(self, value, result);
}

// For callers that expect a StopIteration with the result at the end.
PyObject* stop_with(PyObject* value) {
    const auto result = Ref::steal(value);
    if (const auto stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value)); stop) {
        PyErr_SetObject(PyExc_StopIteration, stop.get());
    }
    return nullptr;
}

PyObject* yield_or_stop(PySendResult status, PyObject* result) {
    return status == PYGEN_RETURN ? stop_with(result) : result;
}

PyObject* call_next(PyObject* object) {
    PyObject* result = nullptr;
    const auto status = step(cast(object), Py_None, &result);
    return yield_or_stop(status, result);
}

PySendResult call_am_send(PyObject* object, PyObject* value, PyObject** result) {
    return step(cast(object), value, result);
}

PyObject* call_await(PyObject* object) {
    auto* self = cast(object);
    // anext() with a default calls __await__() again in each step
    const bool was_awaited = std::exchange(self->was_awaited, true) && !self->method->is_next;
    if (was_awaited || self->phase == Phase::finished) {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'", self->method->name);
        return nullptr;
    }
    return Py_NewRef(object);
}

PyObject* call_send(PyObject* object, PyObject* value) {
    auto* self = cast(object);
    if (self->phase == Phase::created && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return nullptr;
    }
    PyObject* result = nullptr;
    const auto status = step(self, value, &result);
    return yield_or_stop(status, result);
}

// Raises the exception that throw() was given in any of its forms.
PyObject* raise_given(PyObject* const* arguments, Py_ssize_t count) {
    PyObject* value = count > 1 && arguments[1] != Py_None ? arguments[1] : nullptr;
    if (PyExceptionInstance_Check(arguments[0])) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(arguments[0])), arguments[0]);
    } else if (PyExceptionClass_Check(arguments[0])) {
        PyErr_SetObject(arguments[0], value);
    } else {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must be classes or instances deriving from BaseException");
    }
    return nullptr;
}

PyObject* call_throw(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    auto* self = cast(object);
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw() takes from 1 to 3 arguments (%zd given)", count);
        return nullptr;
    }
    if (!check_usable(self)) {
        return nullptr;
    }
    const Running running(self);
    if (!self->delegate) {
        finish(self);
        return raise_given(arguments, count);
    }
    const auto method = Ref::steal(PyObject_GetAttrString(self->delegate.get(), "throw"));
    PyObject* result = method ? PyObject_Vectorcall(method.get(), arguments,
                                                    static_cast<std::size_t>(count), nullptr)
                              : nullptr;
    if (result != nullptr) {
        return result;
    }
    // a StopIteration carries the result
    if (PyErr_ExceptionMatches(PyExc_StopIteration) != 0) {
        const auto stop = take_exception();
        PyObject* value = PyObject_GetAttrString(stop.get(), "value");
        if (goes_on(self, value)) {
            const auto status = step_delegate(self, Py_None, &value);
            return yield_or_stop(status, value);
        }
        value = finish_with(self, value);
        return value != nullptr ? stop_with(value) : nullptr;
    }
    return finish_with(self, nullptr);
}

PyObject* call_close(PyObject* object, PyObject* /*unused*/) {
    auto* self = cast(object);
    if (self->is_running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return nullptr;
    }
    if (self->delegate) {
        const Running running(self);
        if (!Ref::steal(PyObject_CallMethod(self->delegate.get(), "close", nullptr)) ||
            !release(self)) {
            return nullptr;
        }
    }
    finish(self);
    Py_RETURN_NONE;
}

PyObject* call_get_name(PyObject* object, void* /*closure*/) {
    return PyUnicode_FromString(cast(object)->method->name);
}

PyObject* call_repr(PyObject* object) {
    return PyUnicode_FromFormat("<coroutine %s>", cast(object)->method->name);
}

// --- memory

int call_traverse(PyObject* object, visitproc visit, void* arg) {
    const auto* self = cast(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->file.get());
    Py_VISIT(self->data.get());
    Py_VISIT(self->delegate.get());
    return 0;
}

int call_clear(PyObject* object) {
    finish(cast(object));
    return 0;
}

void call_dealloc(PyObject* object) {
    auto* self = cast(object);
    PyObject_GC_UnTrack(object);
    if (self->phase == Phase::created) {
        const KeptException kept;
        if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                             self->method->name) != 0) {
            PyErr_WriteUnraisable(nullptr);
        }
    }
    if (self->does_rest) {
        const KeptException kept;
        self->delegate.reset();  // the coroutine puts back what it has read
    }
    release_quietly(self);
    auto* state = state_or_null(object);
    FreeFileCalls::deallocate(state != nullptr ? &state->free_file_calls : nullptr, self);
}

PyMethodDef methods[] = {
    {"send", call_send, METH_O, "Step it, as a coroutine."},
    {"throw", as_method(call_throw), METH_FASTCALL, "Raise an exception in it, as a coroutine."},
    {"close", call_close, METH_NOARGS, "Give it up, as a coroutine."},
    {},
};

PyGetSetDef properties[] = {
    {"__name__", call_get_name, nullptr, nullptr, nullptr},
    {"__qualname__", call_get_name, nullptr, nullptr, nullptr},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, as_slot(call_dealloc)},
    {Py_tp_traverse, as_slot(call_traverse)},
    {Py_tp_clear, as_slot(call_clear)},
    {Py_tp_repr, as_slot(call_repr)},
    {Py_tp_iter, as_slot(PyObject_SelfIter)},
    {Py_tp_iternext, as_slot(call_next)},
    {Py_am_await, as_slot(call_await)},
    {Py_am_send, as_slot(call_am_send)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_doc, const_cast<char*>("A call of a file's method: a coroutine.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._FileCall",
    .basicsize = sizeof(FileCallObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

}  // namespace

PyTypeObject* make_file_call_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

PyObject* make_file_call(ModuleState& state, const FileMethod& method, PyObject* file,
                         Py_ssize_t size, PyObject* data) {
    auto* self = state.free_file_calls.allocate(state.file_call_type);
    if (self == nullptr) {
        return nullptr;
    }
    self->method = &method;
    self->size = size;
    self->file = Ref::borrow(file);
    self->data = Ref::borrow(data);
    PyObject_GC_Track(self);
    return self;
}

}  // namespace python
