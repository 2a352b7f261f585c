// SPDX-License-Identifier: Apache-2.0
// Runs of Trio's. linux_aio/_trio.py finds what is used of Trio, and has the task that watches.
//
// Trio calls no callbacks: a system task, one for each run, waits for the eventfds of the contexts
// that are bound to the run, and calls their watchers. Trio does not throw a cancellation into what
// is suspended, either: it calls what it was given to abort the wait with, a TrioWake, which says
// whether the task may go on at once.
#pragma once

#include "python/event_loop.hpp"
#include "python/state.hpp"

namespace python {

const LoopKind& trio_loop() noexcept;

PyTypeObject* make_trio_wake_type(PyObject* module);

// Looks for Trio among the modules that were imported since the last look. Sets no exception.
bool look_for_trio(ModuleState& state) noexcept;

// Whether this thread is in a Trio run, as far as the loaded modules say: to be asked in detail.
bool is_in_found_trio(ModuleState& state) noexcept;

// Whether the code that calls this runs in a Trio run. Where nobody has imported Trio it costs
// nothing worth measuring: a program that has no more modules than at the last look has no Trio.
inline bool is_in_trio(ModuleState& state) noexcept {
    if (!state.trio_is_found.load(std::memory_order_acquire)) {
        const auto modules = PyDict_GET_SIZE(PyImport_GetModuleDict());
        if (modules == state.modules_at_last_look.load(std::memory_order_relaxed) ||
            !look_for_trio(state)) {
            return false;
        }
    }
    return is_in_found_trio(state);
}

}  // namespace python
