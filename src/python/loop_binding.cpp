// SPDX-License-Identifier: Apache-2.0
#include "python/loop_binding.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <new>
#include <utility>

#include "engine/clofork_fd.hpp"
#include "engine/eventfd_signal.hpp"
#include "python/exceptions.hpp"
#include "python/operation_life.hpp"
#include "python/running_loop.hpp"
#include "python/state.hpp"
#include "python/wake_future.hpp"
#include "python/watcher.hpp"

namespace python {
namespace {

WatcherObject* cast(PyObject* self) { return static_cast<WatcherObject*>(self); }

WatcherObject* watcher_of(const ContextObject* context) noexcept {
    return cast(context->binding.watcher.get());
}

// The eventfd is about to be closed. An engine that submits a request in flight once more must not
// signal a file that gets the number.
void forget_number(ContextObject* context, int eventfd) noexcept {
    for (auto* operation = context->in_flight.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        if (operation->request.eventfd == eventfd) {
            operation->request.eventfd = context->eventfd().get();
        }
    }
}

// Makes a watcher that the loop calls when its eventfd is readable. Returns null with an exception
// set.
Ref make_watcher(ContextObject* context, const EventLoop& loop) {
    auto* type = state_of(context).watcher_type;
    auto object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return {};
    }
    auto* watcher = cast(object.get());
    new (static_cast<Watcher*>(watcher)) Watcher;
    watcher->fd = engine::make_clofork_eventfd(EFD_CLOEXEC | EFD_NONBLOCK);
    if (!start_watching(loop, watcher->fd, object.get())) {
        return {};
    }
    watcher->context = context;
    watcher->loop = loop.copy();
    return object;
}

}  // namespace

void drop_suspended(ContextObject* context) noexcept {
    for (auto* list : {&context->binding.queued, &context->binding.ready}) {
        while (auto* operation = list->front()) {
            OperationLife::leave_queue(context->binding, operation);
        }
    }
}

bool bind_to_running_loop(ContextObject* context) {
    auto& binding = context->binding;
    auto& state = state_of(context);
    if (binding.loop && binding.loop.kind == &running_kind(state) &&
        binding.loop.kind->runs_here(state, binding.loop.get())) {
        return true;
    }
    const auto loop = running_loop(state);
    if (!loop) {
        return false;
    }
    if (binding.loop) {
        if (binding.suspended != 0 && !binding.loop.kind->is_closed(binding.loop.get())) {
            PyErr_SetString(PyExc_RuntimeError,
                            "the AIOContext serves another event loop, in which it is awaited");
            return false;
        }
        drop_suspended(context);
        unbind(context);
    }
    const auto number = binding.number;
    auto watcher = make_watcher(context, loop);
    if (!watcher) {
        return false;
    }
    if (binding.loop || binding.number != number) {
        // Another thread has bound the context to its own loop meanwhile.
        forget_context(cast(watcher.get()));
        stop_watching(cast(watcher.get()));
        return bind_to_running_loop(context);
    }
    binding.watcher = std::move(watcher);
    binding.loop = loop.copy();
    binding.turn_is_requested = false;
    binding.look_is_requested = false;
    binding.turn_comes_by_eventfd = false;
    binding.suspended = 0;
    binding.earlier_loop_in_flight = !context->in_flight.empty();
    ++binding.number;
    return true;
}

int eventfd_of_binding(const ContextObject* context) noexcept {
    return context->binding.watcher ? watcher_of(context)->fd.get() : -1;
}

bool borrow_eventfd(ContextObject* context) {
    auto* watcher = watcher_of(context);
    if (watcher->borrowed_fd.is_open()) {
        return true;
    }
    // Another thread may end the binding meanwhile.
    const auto held = Ref::borrow(watcher);
    const auto loop = context->binding.loop.copy();
    engine::CloforkFd fd;
    {
        const engine::ForkBarrier barrier;
        fd.adopt(fcntl(context->eventfd().get(), F_DUPFD_CLOEXEC, 0), barrier);
    }
    if (!start_watching(loop, fd, watcher)) {
        return false;
    }
    watcher->borrowed_fd = std::move(fd);
    return true;
}

void tell_loop(const ContextObject* context) noexcept {
    if (const int fd = eventfd_of_binding(context); fd >= 0) {
        engine::signal_eventfd(fd);
    }
}

void hide_from_loop(ContextObject* context) noexcept {
    if (auto* watcher = watcher_of(context); watcher != nullptr) {
        forget_context(watcher);
    }
}

void unbind(ContextObject* context) noexcept {
    auto& binding = context->binding;
    if (!binding.loop) {
        return;
    }
    const KeptException kept;
    const auto loop = std::move(binding.loop);
    const auto watcher = std::move(binding.watcher);
    forget_number(context, cast(watcher.get())->fd.get());
    forget_context(cast(watcher.get()));
    auto* state = state_or_null(context);
    if (context->is_inherited() || state == nullptr) {
        return;  // a child shares the loop's epoll instance with its parent; without a state, the
                 // interpreter ends
    }
    if (loop.kind->may_touch(*state, loop.get())) {
        stop_watching(cast(watcher.get()));
    } else {
        engine::signal_eventfd(
            cast(watcher.get())->fd.get());  // the watcher, called, finds no context
    }
    PyErr_Clear();
}

bool comes_to_queue(const ContextObject* context) noexcept {
    const auto& binding = context->binding;
    return binding.is_running ||
           (binding.waking != nullptr && binding.waking == current_contextvars());
}

bool stop_borrowing_eventfd(ContextObject* context) noexcept {
    auto* watcher = watcher_of(context);
    if (watcher == nullptr || !watcher->borrowed_fd.is_open()) {
        return false;
    }
    stop_watching(context->binding.loop.copy(), std::move(watcher->borrowed_fd));
    return true;
}

}  // namespace python
