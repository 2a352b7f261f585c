// SPDX-License-Identifier: Apache-2.0
#include "python/wake_future.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "python/arguments.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/loop_exceptions.hpp"

namespace python {
namespace {

using WaitState = WakeFuture::WaitState;

WakeFutureObject* cast(PyObject* self) { return static_cast<WakeFutureObject*>(self); }

void wake_future_dealloc(PyObject* object);

// --- calling back

// False with an exception set.
bool call_soon(WakeFutureObject* self, PyObject* callback, PyObject* context) {
    const auto& api = state_of(self).asyncio;
    const std::array<PyObject*, 4> arguments{self->loop.get(), callback, self, context};
    return static_cast<bool>(Ref::steal(PyObject_VectorcallMethod(
        api.call_soon.get(), arguments.data(), 3, api.context_keyword.get())));
}

// The callbacks, taken out of the future: without the GIL, other threads may still call the
// future's methods.
struct Callbacks {
    Ref first;
    Ref context;
    Ref more;
};

// Ends the wait and returns the callbacks; no value if the wait is over already.
std::optional<Callbacks> end_wait(WakeFutureObject* self, WaitState wait,
                                  PyObject* cancel_message = nullptr) {
    const ObjectLock lock(self);
    if (self->wait != WaitState::pending) {
        return std::nullopt;
    }
    self->wait = wait;
    self->cancel_message = Ref::borrow(cancel_message);
    return Callbacks{.first = std::move(self->callback),
                     .context = std::move(self->callback_contextvars),
                     .more = std::move(self->more_callbacks)};
}

// Calls all callbacks but the first. Returns false with an exception set.
bool call_more_soon(WakeFutureObject* self, const Callbacks& callbacks) {
    PyObject* more = callbacks.more.get();
    for (Py_ssize_t i = 0; more != nullptr && i < PyList_GET_SIZE(more); ++i) {
        PyObject* pair = PyList_GET_ITEM(more, i);
        if (!call_soon(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1))) {
            return false;
        }
    }
    return true;
}

// Calls the first callback, unless it was called already. `task` is for asyncio's debug mode, which
// names the task whose callback takes long.
PyObject* call_back(PyObject* /*task*/, PyObject* object) {
    Ref callback;
    if (Py_TYPE(object)->tp_dealloc != wake_future_dealloc) {
        PyErr_SetString(PyExc_TypeError, "not the future");
        return nullptr;
    }
    {
        const ObjectLock lock(object);
        callback = std::move(cast(object)->callback);
    }
    if (!callback) {
        Py_RETURN_NONE;
    }
    return PyObject_CallOneArg(callback.get(), object);
}

PyMethodDef call_back_method{"call_back", call_back, METH_O, nullptr};

// Returns null with an exception set.
Ref make_call_back(PyObject* callback) {
    const auto task = Ref::steal(PyObject_GetAttrString(callback, "__self__"));
    PyErr_Clear();
    return Ref::steal(PyCFunction_New(&call_back_method, task.get()));
}

// Has the loop call the first callback. The loop's method may fail because a signal handler raises
// in it, before or after it has noted the call. So it is asked again, and the callback is called
// once. Returns false with an exception set.
bool call_first_soon(WakeFutureObject* self, Callbacks& callbacks) {
    constexpr int most_tries = 8;
    const auto method = make_call_back(callbacks.first.get());
    {
        const ObjectLock lock(self);
        self->callback = std::move(callbacks.first);
    }
    bool is_noted = false;
    Ref interruption;
    for (int tries = 0; method && !is_noted && tries < most_tries; ++tries) {
        is_noted = call_soon(self, method.get(), callbacks.context.get());
        if (!is_noted && !is_of_signal_handler()) {
            return false;
        }
        if (!is_noted) {
            interruption = take_exception();
        }
    }
    if (interruption) {
        raise(std::move(interruption));
        drop_loops_exception();
    }
    return is_noted;
}

// False with an exception set.
bool call_all_soon(WakeFutureObject* self, Callbacks& callbacks) {
    return (!callbacks.first || call_first_soon(self, callbacks)) &&
           call_more_soon(self, callbacks);
}

// Reports the exception of a callback, as the loop's own handles do. Returns false with an
// exception set.
bool report_exception(WakeFutureObject* self, PyObject* callback) {
    if (PyErr_ExceptionMatches(PyExc_SystemExit) != 0 ||
        PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0) {
        return false;
    }
    const auto exception = take_exception();
    const auto message = Ref::steal(PyUnicode_FromFormat("Exception in callback %R", callback));
    const auto about = Ref::steal(
        message ? Py_BuildValue("{s:O,s:O}", "message", message.get(), "exception", exception.get())
                : nullptr);
    return about && Ref::steal(PyObject_CallMethod(self->loop.get(), "call_exception_handler", "O",
                                                   about.get()));
}

// False with an exception set.
bool call_now(WakeFutureObject* self, PyObject* callback, PyObject* context) {
    if (PyContext_Enter(context) != 0) {
        // A caller of this function has entered the context, which can't be entered twice. In a
        // later turn of the loop that caller may have left it.
        PyErr_Clear();
        return call_soon(self, callback, context);
    }
    const auto result = Ref::steal(PyObject_CallOneArg(callback, self));
    {
        const KeptException kept;
        PyContext_Exit(context);
    }
    return result || report_exception(self, callback);
}

// --- the methods of a future

bool is_over(const WakeFutureObject* self) { return self->wait != WaitState::pending; }

// False with an exception set.
bool add_callback(WakeFutureObject* self, PyObject* callback, Ref context) {
    if (is_over(self)) {
        return call_soon(self, callback, context.get());
    }
    if (!self->callback) {
        self->callback = Ref::borrow(callback);
        self->callback_contextvars = std::move(context);
        return true;
    }
    if (!self->more_callbacks) {
        self->more_callbacks = Ref::steal(PyList_New(0));
    }
    const auto pair = Ref::steal(PyTuple_Pack(2, callback, context.get()));
    return self->more_callbacks && pair &&
           PyList_Append(self->more_callbacks.get(), pair.get()) == 0;
}

PyDoc_STRVAR(add_done_callback_doc,
             "add_done_callback($self, callback, /, *, context=None)\n--\n\n"
             "Have it called with this object, by the loop, when the wait is over.");

PyObject* add_done_callback(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                            PyObject* names) {
    static constexpr std::array<const char*, 2> parameters{"callback", "context"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({"add_done_callback", parameters, 1}, arguments, count, names, values)) {
        return nullptr;
    }
    auto context = values[1] != nullptr && values[1] != Py_None
                       ? Ref::borrow(values[1])
                       : Ref::steal(PyContext_CopyCurrent());
    const ObjectLock lock(object);
    if (!context || !add_callback(cast(object), values[0], std::move(context))) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_done_callback_doc, "remove_done_callback($self, callback, /)\n--\n\n"
                                       "Take it out again, and return how often it was in.");

// 1 or 0, or -1 with an exception set.
int is_equal(PyObject* left, PyObject* right) {
    return left == right ? 1 : PyObject_RichCompareBool(left, right, Py_EQ);
}

PyObject* remove_done_callback(PyObject* object, PyObject* callback) {
    const ObjectLock lock(object);
    auto* self = cast(object);
    // Comparing callbacks runs code of the program, which may change the list: so take all
    // callbacks out first.
    auto pairs = Ref::steal(PyList_New(0));
    auto left = Ref::steal(PyList_New(0));
    if (!pairs || !left) {
        return nullptr;
    }
    const auto add = [&pairs](PyObject* pair) {
        return pair != nullptr && PyList_Append(pairs.get(), pair) == 0;
    };
    const auto first = Ref::steal(
        self->callback ? PyTuple_Pack(2, self->callback.get(), self->callback_contextvars.get())
                       : nullptr);
    if (self->callback && !add(first.get())) {
        return nullptr;
    }
    for (Py_ssize_t i = 0; self->more_callbacks && i < PyList_GET_SIZE(self->more_callbacks.get());
         ++i) {
        if (!add(PyList_GET_ITEM(self->more_callbacks.get(), i))) {
            return nullptr;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pairs.get()); ++i) {
        PyObject* pair = PyList_GET_ITEM(pairs.get(), i);
        const int equal = is_equal(PyTuple_GET_ITEM(pair, 0), callback);
        if (equal < 0 || (equal == 0 && PyList_Append(left.get(), pair) != 0)) {
            return nullptr;
        }
    }
    const auto removed = PyList_GET_SIZE(pairs.get()) - PyList_GET_SIZE(left.get());
    if (removed != 0) {
        self->callback.reset();
        self->callback_contextvars.reset();
        self->more_callbacks = std::move(left);
    }
    return PyLong_FromSsize_t(removed);
}

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /, msg=None)\n--\n\n"
             "End the wait, and return whether it was not over yet. The operation goes on.");

PyObject* cancel(PyObject* object, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
    static constexpr std::array<const char*, 1> parameters{"msg"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({"cancel", parameters, 0}, arguments, count, names, values)) {
        return nullptr;
    }
    auto* self = cast(object);
    auto callbacks = end_wait(self, WaitState::cancelled, values[0]);
    if (!callbacks) {
        Py_RETURN_FALSE;
    }
    if (!call_all_soon(self, *callbacks)) {
        return nullptr;
    }
    Py_RETURN_TRUE;
}

PyObject* cancelled(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    return PyBool_FromLong(cast(object)->wait == WaitState::cancelled ? 1 : 0);
}

PyObject* done(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    return PyBool_FromLong(is_over(cast(object)) ? 1 : 0);
}

PyObject* raise_cancelled(WakeFutureObject* self) {
    PyObject* type = state_of(self).asyncio.cancelled_error.get();
    PyObject* message = self->cancel_message.get();
    const auto exception =
        Ref::steal(message != nullptr && message != Py_None ? PyObject_CallOneArg(type, message)
                                                            : PyObject_CallNoArgs(type));
    if (exception) {
        PyErr_SetObject(type, exception.get());
    }
    return nullptr;
}

PyDoc_STRVAR(result_doc, "result($self, /)\n--\n\n"
                         "None, or CancelledError; InvalidStateError while the wait is not over.");

PyObject* result(PyObject* object, PyObject* /*unused*/) {
    const ObjectLock lock(object);
    auto* self = cast(object);
    switch (self->wait) {
        case WaitState::over:
            break;
        case WaitState::cancelled:
            return raise_cancelled(self);
        case WaitState::pending:
            PyErr_SetString(state_of(object).asyncio.invalid_state_error.get(),
                            "the wait is not over");
            return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject* get_blocking(PyObject* object, void* /*closure*/) {
    return PyBool_FromLong(cast(object)->is_blocking ? 1 : 0);
}

int set_blocking(PyObject* object, PyObject* value, void* /*closure*/) {
    const int is_true = value != nullptr ? PyObject_IsTrue(value) : 0;
    cast(object)->is_blocking = is_true > 0;
    return is_true < 0 ? -1 : 0;
}

PyObject* get_loop(PyObject* object, PyObject* /*unused*/) { return cast(object)->loop.new_ref(); }

// For tasks that await the future: yields the future itself until the wait is over.
PyObject* wake_future_next(PyObject* object) {
    auto* self = cast(object);
    if (!is_over(self)) {
        self->is_blocking = true;
        return Py_NewRef(object);
    }
    Ref::steal(result(object, nullptr));
    return nullptr;  // with no exception set: the end, with None
}

PyObject* wake_future_repr(PyObject* object) {
    static constexpr std::array<const char*, 3> names{"pending", "over", "cancelled"};
    const ObjectLock lock(object);
    return PyUnicode_FromFormat("<_WakeFuture, %s>",
                                names[static_cast<std::size_t>(cast(object)->wait)]);
}

// --- memory

int wake_future_traverse(PyObject* object, visitproc visit, void* arg) {
    const auto* self = cast(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop.get());
    Py_VISIT(self->callback.get());
    Py_VISIT(self->callback_contextvars.get());
    Py_VISIT(self->more_callbacks.get());
    Py_VISIT(self->cancel_message.get());
    return 0;
}

int wake_future_clear(PyObject* object) {
    auto* self = cast(object);
    self->callback.reset();
    self->callback_contextvars.reset();
    self->more_callbacks.reset();
    self->cancel_message.reset();
    return 0;
}

void wake_future_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    auto* state = state_or_null(object);
    FreeWakeFutures::deallocate(state != nullptr ? &state->free_wake_futures : nullptr,
                                cast(object));
}

PyMethodDef methods[] = {
    {"add_done_callback", as_method(add_done_callback), METH_FASTCALL | METH_KEYWORDS,
     add_done_callback_doc},
    {"remove_done_callback", remove_done_callback, METH_O, remove_done_callback_doc},
    {"cancel", as_method(cancel), METH_FASTCALL | METH_KEYWORDS, cancel_doc},
    {"cancelled", cancelled, METH_NOARGS, "Whether it was cancelled."},
    {"done", done, METH_NOARGS, "Whether the wait is over."},
    {"result", result, METH_NOARGS, result_doc},
    {"exception", result, METH_NOARGS, result_doc},
    {"get_loop", get_loop, METH_NOARGS, "The event loop."},
    {},
};

PyGetSetDef properties[] = {
    {"_asyncio_future_blocking", get_blocking, set_blocking, nullptr, nullptr},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, as_slot(wake_future_dealloc)},
    {Py_tp_traverse, as_slot(wake_future_traverse)},
    {Py_tp_clear, as_slot(wake_future_clear)},
    {Py_tp_repr, as_slot(wake_future_repr)},
    {Py_tp_iter, as_slot(PyObject_SelfIter)},
    {Py_tp_iternext, as_slot(wake_future_next)},
    {Py_am_await, as_slot(PyObject_SelfIter)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_doc, const_cast<char*>("What a task waits for while an operation is in flight.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._WakeFuture",
    .basicsize = sizeof(WakeFutureObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

}  // namespace

PyTypeObject* make_wake_future_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

Ref make_wake_future(ModuleState& state, PyObject* loop) {
    auto* future = state.free_wake_futures.allocate(state.wake_future_type);
    if (future == nullptr) {
        return {};
    }
    PyObject_GC_Track(future);
    future->loop = Ref::borrow(loop);
    return Ref::steal(future);
}

bool is_cancelled_wait(PyObject* future) noexcept {
    const ObjectLock lock(future);
    return cast(future)->wait == WaitState::cancelled;
}

void wake_soon(PyObject* future) noexcept {
    const KeptException kept;
    if (auto callbacks = end_wait(cast(future), WaitState::over)) {
        // fails if the loop was closed: then no task waits again
        call_all_soon(cast(future), *callbacks);
        drop_loops_exception();
    }
}

bool wake_now(PyObject* future) {
    auto* self = cast(future);
    const auto callbacks = end_wait(self, WaitState::over);
    if (!callbacks) {
        return true;
    }
    // The other callbacks are handed to the loop before the first one is called, because the first
    // one may raise, or end the program. A failure to hand them over stops nothing.
    if (!call_more_soon(self, *callbacks)) {
        drop_loops_exception();
    }
    return !callbacks->first || call_now(self, callbacks->first.get(), callbacks->context.get());
}

Ref callback_contextvars_of(PyObject* future) noexcept {
    const ObjectLock lock(future);
    return Ref::borrow(cast(future)->callback_contextvars.get());
}

PyObject* current_contextvars() noexcept { return PyThreadState_Get()->context; }

}  // namespace python
