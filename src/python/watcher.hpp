// SPDX-License-Identifier: Apache-2.0
// The object that an event loop calls for a context, with the fds that the loop watches for it. The
// watcher does not own the context: so the loop does not keep the context alive.
#pragma once

#include "engine/clofork_fd.hpp"
#include "python/event_loop.hpp"
#include "python/refs.hpp"

namespace python {

struct ContextObject;

struct Watcher {
    ContextObject* context = nullptr;  // null once the binding has ended; with the watcher locked
    engine::CloforkFd fd;
    engine::CloforkFd borrowed_fd;  // a duplicate of the context's eventfd
    engine::CloforkFd timer;        // for request_look()
    EventLoop loop;
};
struct WatcherObject : PyObject, Watcher {};

// False with an exception set.
bool start_watching(const EventLoop& loop, const engine::CloforkFd& fd, PyObject* watcher);

// Called in the loop's thread. Closes the fd after the loop no longer watches it.
void stop_watching(const EventLoop& loop, engine::CloforkFd fd) noexcept;
void stop_watching(WatcherObject* watcher) noexcept;

// Returns the context, or null once the binding has ended.
Ref context_of(WatcherObject* watcher) noexcept;

// Called at the end of the binding: the watcher no longer knows the context.
void forget_context(WatcherObject* watcher) noexcept;

}  // namespace python
