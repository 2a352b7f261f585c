// SPDX-License-Identifier: Apache-2.0
// What an event loop calls for a context, and what it watches for it. The watcher knows the context
// without owning it: the loop keeps no context alive.
#pragma once

#include "engine/clofork_fd.hpp"
#include "python/event_loop.hpp"
#include "python/refs.hpp"

namespace python {

struct ContextObject;

struct Watcher {
    ContextObject* context = nullptr;  // null once the binding has ended; with the watcher locked
    engine::CloforkFd fd;
    engine::CloforkFd borrowed_fd;  // a duplicate of the context's
    engine::CloforkFd timer;        // for request_look()
    EventLoop loop;
};
struct WatcherObject : PyObject, Watcher {};

// False with an exception set.
bool start_watching(const EventLoop& loop, const engine::CloforkFd& fd, PyObject* watcher);

// In the loop's thread. The fd is closed after the loop has forgotten its number.
void stop_watching(const EventLoop& loop, engine::CloforkFd fd) noexcept;
void stop_watching(WatcherObject* watcher) noexcept;

// The context, or null once the binding has ended.
Ref context_of(WatcherObject* watcher) noexcept;

// The binding has ended: it finds no context any more.
void forget_context(WatcherObject* watcher) noexcept;

}  // namespace python
