// SPDX-License-Identifier: Apache-2.0
// What to do with an exception of an event loop's method that is called in passing.
#pragma once

namespace python {

// Whether the exception that is set came from a signal handler of the program, and not from the
// loop.
bool is_of_signal_handler() noexcept;

// Drops the exception that is set, if there is one: the loop is closed or lacks the method, or the
// kernel refuses what the loop needs. But methods written in Python also run the program's signal
// handlers. What such a handler raised, as KeyboardInterrupt, is raised again in the main thread a
// moment later.
void drop_loops_exception() noexcept;

}  // namespace python
