// SPDX-License-Identifier: Apache-2.0
// The way of operations out of a context. All but signal_eventfd() and collect() is called with the
// context locked.
#pragma once

#include "engine/engine.hpp"
#include "engine/eventfd_signal.hpp"
#include "python/context.hpp"

namespace python {

// Completes every operation whose completion is there. Never waits; may run Python code (that of
// a buffer that is given back), and the context may be closed after it.
void reap(ContextObject* context) noexcept;

// Completes some of them: those that one call of the engine returns. Returns whether there were
// any.
bool reap_some(ContextObject* context) noexcept;

// For the loop, if there is something in its queue that could now be submitted.
void tell_of_room(const ContextObject* context) noexcept;

// Takes a completed operation out of what getevents will hand out. The caller has a reference.
void forget(ContextObject* context, OperationObject* operation) noexcept;

// signal_eventfd() makes an eventfd readable, empty_eventfd() unreadable. Neither waits.
using engine::signal_eventfd;
void empty_eventfd(int fd) noexcept;

// The number of the context's eventfd, which from now on is signalled; -1 with an exception set.
int fileno_of(ContextObject* context);

// After operations were taken from the context: makes its eventfd unreadable if none are left.
void settle_eventfd(ContextObject* context) noexcept;

// Lets other threads run until there is something to reap, another thread reaped something since
// the ticket was drawn, the time is over (ETIMEDOUT), or a signal came (EINTR). Returns an errno.
int wait_for_completions(ContextObject* context, engine::Engine::Ticket ticket,
                         engine::Timeout timeout);

// AIOContext.getevents, its arguments checked.
PyObject* collect(ContextObject* context, std::size_t min_nr, std::size_t max_nr,
                  engine::Timeout timeout);

}  // namespace python
