// SPDX-License-Identifier: Apache-2.0
// How operations leave a context. All functions except signal_eventfd() and collect() are called
// with the context locked.
#pragma once

#include "engine/engine.hpp"
#include "engine/eventfd_signal.hpp"
#include "python/context.hpp"

namespace python {

// Completes every operation whose completion has arrived. Never waits. It may run Python code (that
// of a buffer that is released), which may close the context.
void reap(ContextObject* context) noexcept;

// Completes the operations that one call of the engine returns. Returns whether there were any.
bool reap_some(ContextObject* context) noexcept;

// Tells the loop if its queue holds an operation that could be submitted now.
void tell_of_room(const ContextObject* context) noexcept;

// Takes a completed operation out of the list of those that getevents() will return. The caller has
// a reference.
void forget(ContextObject* context, OperationObject* operation) noexcept;

// signal_eventfd() makes an eventfd readable, empty_eventfd() unreadable. Neither waits.
using engine::signal_eventfd;
void empty_eventfd(int fd) noexcept;

// Returns the number of the context's eventfd, which completions signal from now on; -1 with an
// exception set.
int fileno_of(ContextObject* context);

// Called after operations were taken from the context: makes its eventfd unreadable if none are
// left.
void empty_eventfd_if_collected(ContextObject* context) noexcept;

// Releases the GIL and waits until there is a completion to reap, another thread has reaped one
// since the ticket was drawn, the time is over (ETIMEDOUT), or a signal came (EINTR). Returns an
// errno.
int wait_for_completions(ContextObject* context, engine::Engine::Ticket ticket,
                         engine::Timeout timeout);

// AIOContext.getevents(), after its arguments were checked.
PyObject* collect(ContextObject* context, std::size_t min_nr, std::size_t max_nr,
                  engine::Timeout timeout);

}  // namespace python
