// SPDX-License-Identifier: Apache-2.0
#include "python/watcher_methods.hpp"

#include <unistd.h>

#include <cstdint>
#include <memory>

#include "python/awaitable_state.hpp"
#include "python/context.hpp"
#include "python/context_lock.hpp"
#include "python/loop_binding.hpp"
#include "python/loop_turn.hpp"
#include "python/turn_budget.hpp"
#include "python/watcher.hpp"

namespace python {
namespace {

WatcherObject* cast(PyObject* self) { return static_cast<WatcherObject*>(self); }

// Called by the loop: when an eventfd or the timer is readable, or by request_turn(), with the
// number of the turn that requested it.
PyObject* watcher_call(PyObject* object, PyObject* arguments, PyObject* /*keywords*/) {
    auto* watcher = cast(object);
    const auto held = context_of(watcher);
    auto* context = static_cast<ContextObject*>(held.get());
    if (context == nullptr) {
        stop_watching(watcher);
        Py_RETURN_NONE;
    }
    if (context->is_inherited()) {
        Py_RETURN_NONE;
    }
    ContextLock lock(context);
    auto& binding = context->binding;
    auto& budget = TurnBudget::of_this_thread();
    PyObject* reason = PyTuple_GET_SIZE(arguments) == 1 ? PyTuple_GET_ITEM(arguments, 0) : nullptr;
    if (reason != nullptr) {
        binding.turn_is_requested = false;
        budget.start_next(PyLong_AsUnsignedLongLong(reason));
    } else {
        if (binding.look_is_requested) {
            std::uint64_t times = 0;
            binding.look_is_requested = read(watcher->timer.get(), &times, sizeof times) < 0;
        }
        // The loop calls for an eventfd once in each of its turns. It also does so if a turn was
        // requested and could be requested only through the eventfd.
        budget.start_next(binding.turn_comes_by_eventfd ? binding.requested_in_turn
                                                        : binding.last_turn);
        binding.turn_is_requested = binding.turn_is_requested && !binding.turn_comes_by_eventfd;
        binding.turn_comes_by_eventfd = false;
        binding.last_turn = budget.turn();
    }
    if (!run_turn(context, lock)) {
        return nullptr;
    }
    Py_RETURN_NONE;
}

// Called when the loop is over and makes no more calls.
PyObject* watcher_end(PyObject* object, PyObject* /*unused*/) {
    const auto held = context_of(cast(object));
    auto* context = static_cast<ContextObject*>(held.get());
    if (context != nullptr) {
        const ContextLock lock(context);
        if (context->binding.watcher.get() == object) {
            drop_suspended(context);
            unbind(context);
        }
    }
    stop_watching(cast(object));
    Py_RETURN_NONE;
}

// Whether a task waits for one of the operations. No task need wait for those that start() began.
bool has_suspended_task(const OperationList& operations) noexcept {
    for (auto* operation = operations.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        const AwaitableObject* awaiter = operation->awaiter;
        if (awaiter != nullptr && awaiter->phase == Awaitable::Phase::suspended) {
            return true;
        }
    }
    return false;
}

PyObject* watcher_get_is_awaited(PyObject* object, void* /*closure*/) {
    const auto held = context_of(cast(object));
    auto* context = static_cast<ContextObject*>(held.get());
    if (context == nullptr) {
        Py_RETURN_FALSE;
    }
    const ContextLock lock(context);
    const auto& binding = context->binding;
    const bool is_awaited = has_suspended_task(context->in_flight) ||
                            has_suspended_task(binding.queued) || has_suspended_task(binding.ready);
    return PyBool_FromLong(is_awaited ? 1 : 0);
}

PyMethodDef watcher_methods[] = {
    {"end", watcher_end, METH_NOARGS, "The loop is over: leave the context."},
    {},
};

PyGetSetDef watcher_properties[] = {
    {"is_awaited", watcher_get_is_awaited, nullptr,
     "Whether a task waits for something of the context's.", nullptr},
    {},
};

int watcher_traverse(PyObject* object, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(cast(object)->loop.get());
    return 0;
}

int watcher_clear(PyObject* object) {
    cast(object)->loop = {};
    return 0;
}

void watcher_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    std::destroy_at(static_cast<Watcher*>(cast(object)));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyType_Slot slots[] = {
    {Py_tp_call, as_slot(watcher_call)},
    {Py_tp_dealloc, as_slot(watcher_dealloc)},
    {Py_tp_traverse, as_slot(watcher_traverse)},
    {Py_tp_clear, as_slot(watcher_clear)},
    {Py_tp_methods, watcher_methods},
    {Py_tp_getset, watcher_properties},
    {Py_tp_doc, const_cast<char*>("What an event loop calls for a context.")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._Watcher",
    .basicsize = sizeof(WatcherObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

}  // namespace

PyTypeObject* make_watcher_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

}  // namespace python
