// SPDX-License-Identifier: Apache-2.0
#include "python/awaitable.hpp"

#include <structmember.h>

#include <new>
#include <utility>

#include "python/awaitable_steps.hpp"
#include "python/awaitable_wait.hpp"
#include "python/context_lock.hpp"
#include "python/exceptions.hpp"
#include "python/operation_life.hpp"

namespace python {
namespace {

AwaitableObject* cast(PyObject* self) { return static_cast<AwaitableObject*>(self); }

// --- the coroutine's methods

// For callers that expect a StopIteration with the result at the end.
PyObject* yield_or_stop(AwaitableObject* self, PyObject* value) {
    if (value == nullptr || self->phase == Phase::suspended) {
        return value;
    }
    const auto result = Ref::steal(value);
    if (const auto stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value)); stop) {
        PyErr_SetObject(PyExc_StopIteration, stop.get());
    }
    return nullptr;
}

PyObject* awaitable_next(PyObject* object) {
    return yield_or_stop(cast(object), step(cast(object)));
}

PySendResult awaitable_am_send(PyObject* object, PyObject* /*value*/, PyObject** result) {
    *result = step(cast(object));
    if (*result == nullptr) {
        return PYGEN_ERROR;
    }
    return cast(object)->phase == Phase::suspended ? PYGEN_NEXT : PYGEN_RETURN;
}

PyObject* awaitable_await(PyObject* object) {
    auto* self = cast(object);
    const ContextLock lock(context_of(self));
    if (self->phase == Phase::started) {
        return Py_NewRef(object);
    }
    if (std::exchange(self->was_awaited, true) || self->phase != Phase::created) {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited '%s'", self->name);
        return nullptr;
    }
    return Py_NewRef(object);
}

PyDoc_STRVAR(send_doc, "send($self, value, /)\n--\n\nStep it, as a coroutine.");

PyObject* awaitable_send(PyObject* object, PyObject* value) {
    auto* self = cast(object);
    if (self->phase == Phase::created && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return nullptr;
    }
    return yield_or_stop(self, step(self));
}

// Returns the exception that throw() was given in any of its forms, or null with a TypeError.
Ref exception_of(PyObject* const* arguments, Py_ssize_t count) {
    PyObject* first = arguments[0];
    PyObject* value = count > 1 && arguments[1] != Py_None ? arguments[1] : nullptr;
    if (PyExceptionInstance_Check(first)) {
        return Ref::borrow(first);
    }
    if (!PyExceptionClass_Check(first)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, not "
                     "%.200s",
                     Py_TYPE(first)->tp_name);
        return {};
    }
    if (value != nullptr && PyExceptionInstance_Check(value)) {
        return Ref::borrow(value);
    }
    auto made = Ref::steal(value != nullptr ? PyObject_CallOneArg(first, value)
                                            : PyObject_CallNoArgs(first));
    if (made && !PyExceptionInstance_Check(made.get())) {
        PyErr_Format(PyExc_TypeError,
                     "calling %R should have returned an instance of BaseException, not %.200s",
                     first, Py_TYPE(made.get())->tp_name);
        return {};
    }
    return made;
}

PyDoc_STRVAR(throw_doc,
             "throw($self, type, value=None, traceback=None, /)\n--\n\n"
             "End it with an exception, as a coroutine: at once, or when the kernel has let go of\n"
             "memory of the program's.");

PyObject* awaitable_throw(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
    auto* self = cast(object);
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw() takes from 1 to 3 arguments (%zd given)", count);
        return nullptr;
    }
    auto exception = exception_of(arguments, count);
    const ContextLock lock(context_of(self));
    if (!exception || !check_not_running(self) || !check_not_finished(self)) {
        return nullptr;
    }
    const Running running(self);
    wake_waiting_task(self);
    return yield_or_stop(self, end_with(self, std::move(exception)));
}

PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "Give it up, as a coroutine. A read or a poll in flight is cancelled. What else is in\n"
    "flight goes on, its memory kept alive.");

PyObject* awaitable_close(PyObject* object, PyObject* /*unused*/) {
    const ContextLock lock(context_of(cast(object)));
    auto* self = cast(object);
    if (!check_not_running(self)) {
        return nullptr;
    }
    wake_waiting_task(self);
    if (self->was_started && self->phase == Phase::suspended) {
        end_wait(self);
    } else if (self->phase != Phase::finished) {
        if (self->submits && self->operation && !self->deferred) {
            keep_for_next_read(context_of(self), operation_of(self));
        }
        give_up(self);
    }
    Py_RETURN_NONE;
}

PyObject* awaitable_start(PyObject* object, PyObject* /*unused*/) {
    if (!start(object)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* awaitable_is_over(PyObject* object, PyObject* /*unused*/) {
    return PyBool_FromLong(is_over(object) ? 1 : 0);
}

PyObject* awaitable_is_finished(PyObject* object, PyObject* /*unused*/) {
    const ContextLock lock(context_of(cast(object)));
    return PyBool_FromLong(cast(object)->phase == Phase::finished ? 1 : 0);
}

PyObject* awaitable_result_if_over(PyObject* object, PyObject* /*unused*/) {
    auto* self = cast(object);
    const ContextLock lock(context_of(self));
    if (!check_not_running(self) || !check_not_finished(self)) {
        return nullptr;
    }
    if (!self->was_started) {
        PyErr_SetString(PyExc_RuntimeError, "only what was started has a result without a loop");
        return nullptr;
    }
    const Running running(self);
    if (self->phase == Phase::suspended) {
        end_wait(self);
    }
    if (is_completed(self)) {
        return next_step(self);
    }
    if (operation_of(self)->listing == Listing::queued) {  // without a loop it is never submitted
        PyErr_SetString(PyExc_ValueError, "the operation was withdrawn before it was submitted");
        return finish_with_exception(self, take_exception());
    }
    Py_RETURN_NONE;
}

PyObject* awaitable_get_name(PyObject* object, void* /*closure*/) {
    return PyUnicode_FromString(cast(object)->name);
}

PyObject* awaitable_repr(PyObject* object) {
    const auto* self = cast(object);
    const ContextLock lock(context_of(self));
    return self->operation
               ? PyUnicode_FromFormat("<%s awaiting %R>", self->name, self->operation.get())
               : PyUnicode_FromFormat("<%s, finished>", self->name);
}

// --- memory

int awaitable_traverse(PyObject* object, visitproc visit, void* arg) {
    const auto* self = cast(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->context.get());
    Py_VISIT(self->operation.get());
    Py_VISIT(self->wake.get());
    Py_VISIT(self->failure.get());
    Py_VISIT(self->deferred.get());
    Py_VISIT(self->shield.get());
    return 0;
}

int awaitable_clear(PyObject* object) {
    auto* self = cast(object);
    const ContextLock lock(context_of(self));
    if (self->phase != Phase::finished) {
        give_up(self);
    }
    return 0;
}

void warn_if_never_awaited(AwaitableObject* self) {
    if (self->phase != Phase::created || !self->submits) {
        return;
    }
    const KeptException kept;
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", self->name) !=
        0) {
        PyErr_WriteUnraisable(nullptr);
    }
}

void awaitable_dealloc(PyObject* object) {
    auto* self = cast(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    warn_if_never_awaited(self);
    if (self->phase != Phase::finished) {
        awaitable_clear(object);
    }
    auto* state = state_or_null(object);
    FreeAwaitables::deallocate(state != nullptr ? &state->free_awaitables : nullptr, self);
}

PyMethodDef methods[] = {
    {"send", awaitable_send, METH_O, send_doc},
    {"throw", as_method(awaitable_throw), METH_FASTCALL, throw_doc},
    {"close", awaitable_close, METH_NOARGS, close_doc},
    {"_start", awaitable_start, METH_NOARGS, nullptr},
    {"_is_over", awaitable_is_over, METH_NOARGS, nullptr},
    {"_is_finished", awaitable_is_finished, METH_NOARGS, nullptr},
    {"_result_if_over", awaitable_result_if_over, METH_NOARGS, nullptr},
    {},
};

PyGetSetDef properties[] = {
    {"__name__", awaitable_get_name, nullptr, nullptr, nullptr},
    {"__qualname__", awaitable_get_name, nullptr, nullptr, nullptr},
    {},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, weak_references_offset<Awaitable>(), READONLY, nullptr},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, as_slot(awaitable_dealloc)},
    {Py_tp_traverse, as_slot(awaitable_traverse)},
    {Py_tp_clear, as_slot(awaitable_clear)},
    {Py_tp_repr, as_slot(awaitable_repr)},
    {Py_tp_iter, as_slot(PyObject_SelfIter)},
    {Py_tp_iternext, as_slot(awaitable_next)},
    {Py_am_await, as_slot(awaitable_await)},
    {Py_am_send, as_slot(awaitable_am_send)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>("An operation that is awaited: a coroutine.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._Awaitable",
    .basicsize = sizeof(AwaitableObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

}  // namespace

PyTypeObject* make_awaitable_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

PyObject* make_awaitable(ContextObject* context, OperationObject* operation, bool submits,
                         const char* name) {
    auto& state = state_of(context);
    auto* self = state.free_awaitables.allocate(state.awaitable_type);
    if (self == nullptr) {
        return nullptr;
    }
    PyObject_GC_Track(self);
    self->submits = submits;
    self->name = name;
    self->context = Ref::borrow(context);
    self->operation = Ref::borrow(operation);
    return self;
}

bool start(PyObject* awaitable) {
    auto* self = cast(awaitable);
    const ContextLock lock(context_of(self));
    if (self->phase != Phase::created || !self->submits || self->was_awaited) {
        PyErr_Format(PyExc_RuntimeError, "cannot start already awaited '%s'", self->name);
        return false;
    }
    if (!check_not_running(self)) {
        return false;
    }
    const Running running(self);
    self->was_started = true;
    self->phase = Phase::started;
    if (!submit_for_loop(self)) {
        finish_with_exception(self, take_exception());
        return false;
    }
    have_it_looked_for(self);
    return true;
}

bool is_over(PyObject* awaitable) {
    auto* self = cast(awaitable);
    const ContextLock lock(context_of(self));
    return self->phase == Phase::started ? is_completed(self) : self->phase != Phase::suspended;
}

}  // namespace python
