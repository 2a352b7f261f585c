// SPDX-License-Identifier: Apache-2.0
// The kind of Trio's runs. linux_aio/_trio.py looks up the objects of Trio that are used, and has
// the task that watches the eventfds.
//
// Trio calls no callbacks. Instead, each run has one system task, which waits for the eventfds of
// the contexts that are bound to the run, and calls their watchers. Nor does Trio throw a
// cancellation into a suspended object: it calls the abort function that the wait was begun with,
// here a TrioWake, which says whether the task may go on at once.
#pragma once

#include "python/event_loop.hpp"
#include "python/state.hpp"

namespace python {

const LoopKind& trio_loop() noexcept;

PyTypeObject* make_trio_wake_type(PyObject* module);

// Looks for Trio among the modules that were imported since the last look. Sets no exception.
bool look_for_trio(ModuleState& state) noexcept;

// Whether this thread is in a Trio run. Asks Trio, which must have been found.
bool is_in_found_trio(ModuleState& state) noexcept;

// Whether the calling code runs in a Trio run. The check is cheap in programs that have not
// imported Trio: while sys.modules has as many modules as at the last look, Trio was not imported.
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
