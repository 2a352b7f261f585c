// SPDX-License-Identifier: Apache-2.0
#include "python/registry.hpp"

#include "python/closing.hpp"
#include "python/completion.hpp"
#include "python/context_lock.hpp"
#include "python/reference_counts.hpp"

namespace python {
namespace {

// Returns how many references to the context come from operations in flight that no other code
// holds.
Py_ssize_t references_from_flight(const ContextObject* context) noexcept {
    Py_ssize_t count = 0;
    for (auto* operation = context->in_flight.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        count += count_references(operation) == 1 ? 1 : 0;
    }
    return count;
}

// Whether only its operations in flight hold the context, besides the caller's one reference. Also
// false while that can't be told.
bool is_dropped(ContextObject* context) noexcept {
    return !context->in_flight.empty() && !context->is_closing() &&
           count_references(context) == references_from_flight(context) + 1;
}

void look_after(ContextObject* context) noexcept {
    const ContextLock lock(context);
    reap(context);
    if (is_dropped(context)) {
        warn_if_open(context);
        context->drop();
        start_closing(context);
    }
}

#ifdef Py_GIL_DISABLED
constexpr long first_generation_to_sweep = 0;  // the collector has no generations
#else
constexpr long first_generation_to_sweep = 1;
#endif

PyDoc_STRVAR(before_collection_doc, "Called by the garbage collector: see gc.callbacks.");

PyObject* before_collection(PyObject* module, PyObject* const* arguments, Py_ssize_t count) {
    if (count != 2 || PyUnicode_CompareWithASCIIString(arguments[0], "start") != 0) {
        Py_RETURN_NONE;
    }
    const auto generation = Ref::steal(
        PyObject_GetItem(arguments[1], Ref::steal(PyUnicode_FromString("generation")).get()));
    const long number = generation ? PyLong_AsLong(generation.get()) : -1;
    if (number < 0) {
        return nullptr;
    }
    if (number >= first_generation_to_sweep) {
        sweep_registry(*static_cast<ModuleState*>(PyModule_GetState(module)));
    }
    Py_RETURN_NONE;
}

PyMethodDef before_collection_method{"_before_collection", as_method(before_collection),
                                     METH_FASTCALL, before_collection_doc};

// Returns the first context, from `first` on in the current list, whose destruction has not begun.
// Null if there is none.
Ref first_that_lives(ModuleState& state, ContextObject* const& first) noexcept {
    const std::lock_guard lock(state.mutex);
    for (auto* context = first; context != nullptr; context = context->next_context) {
        if (auto held = try_reference(context)) {
            return held;
        }
    }
    return {};
}

}  // namespace

bool sweep_before_collections(PyObject* module) {
    const auto collector = Ref::steal(PyImport_ImportModule("gc"));
    const auto callbacks =
        Ref::steal(collector ? PyObject_GetAttrString(collector.get(), "callbacks") : nullptr);
    const auto callback =
        Ref::steal(callbacks ? PyCFunction_New(&before_collection_method, module) : nullptr);
    return callback && PyList_Append(callbacks.get(), callback.get()) == 0;
}

void enter_registry(ModuleState& state, ContextObject* context) noexcept {
    allow_try_reference(context);
    const std::lock_guard lock(state.mutex);
    context->next_context = state.first_context;
    context->previous_context = nullptr;
    if (state.first_context != nullptr) {
        state.first_context->previous_context = context;
    }
    state.first_context = context;
}

void leave_registry(ModuleState& state, ContextObject* context) noexcept {
    const std::lock_guard lock(state.mutex);
    auto* previous = context->previous_context;
    auto* next = context->next_context;
    if (previous == nullptr && state.first_context != context) {
        return;  // it never entered
    }
    (previous != nullptr ? previous->next_context : state.first_context) = next;
    if (next != nullptr) {
        next->previous_context = previous;
    }
    context->previous_context = nullptr;
    context->next_context = nullptr;
}

void sweep_registry(ModuleState& state) noexcept {
    // Each context is held while it is looked after, since that may run code that ends this or
    // another context.
    auto context = first_that_lives(state, state.first_context);
    while (context) {
        auto* current = static_cast<ContextObject*>(context.get());
        look_after(current);
        context = first_that_lives(state, current->next_context);
    }
}

}  // namespace python
