// SPDX-License-Identifier: Apache-2.0
#include "python/closing.hpp"

#include <cerrno>
#include <thread>
#include <utility>

#include "python/completion.hpp"
#include "python/context_lock.hpp"
#include "python/errors.hpp"
#include "python/exceptions.hpp"
#include "python/gil.hpp"
#include "python/loop_binding.hpp"
#include "python/operation_life.hpp"
#include "python/waking.hpp"

namespace python {
namespace {

void cancel_all(const ContextObject* context) noexcept {
    for (auto* operation = context->in_flight.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        context->engine()->post_cancellation_if_endless(operation->request);
    }
}

// Runs without the GIL: if very many contexts are closed at a time, they wait for each other.
void destroy_engine(ContextObject* context, bool may_wait) noexcept {
    auto engine = context->release_engine();
    const auto eventfd = context->release_eventfd();
    const GilRelease release;
    if (may_wait) {
        engine->wait_for_signals();
    }
    engine.reset();
}

void let_other_threads_out() {
    const GilRelease release;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
}

// Wakes the waiting tasks, and ends the binding. In another thread than the loop's, the loop does
// this.
void end_binding(ContextObject* context) noexcept {
    if (!context->binding.ready.empty()) {
        wake_ready(context);
    }
    if (context->binding.ready.empty()) {
        unbind(context);
    }
}

}  // namespace

void start_closing(ContextObject* context) noexcept {
    if (context->is_inherited()) {
        return;
    }
    context->start_closing();
    fail_queued(context);
    if (context->engine() != nullptr) {
        cancel_all(context);
    }
}

bool closes_at_once(const ContextObject* context) noexcept {
    return context->is_inherited() || context->engine() == nullptr || context->is_idle();
}

bool close(ContextObject* context) {
    const ContextLock lock(context);
    if (context->is_inherited()) {
        release_inherited(context);
        return true;
    }
    start_closing(context);
    while (context->engine() != nullptr) {
        const auto ticket = context->engine()->ticket();
        reap(context);
        if (context->engine() == nullptr) {
            break;  // another thread was faster
        }
        if (context->is_idle()) {
            // no waiting if the context is bound: an event loop's thread must not wait for threads
            // of ours
            destroy_engine(context, !context->binding.loop);
            end_binding(context);
            break;
        }
        if (context->in_flight.empty()) {
            let_other_threads_out();
            if (PyErr_CheckSignals() != 0) {
                return false;
            }
            continue;
        }
        const bool more_may_come = context->unconfirmed() != 0;
        const int status = wait_for_completions(context, ticket, std::nullopt);
        if (more_may_come && context->engine() != nullptr) {
            cancel_all(context);
        }
        if (status == EINTR) {
            if (PyErr_CheckSignals() != 0) {
                return false;
            }
        } else if (status != 0) {
            raise_os_error(status, "waiting for completions");
            return false;
        }
    }
    return true;
}

void warn_if_open(ContextObject* context) noexcept {
    if (context->engine() == nullptr || context->is_closing() || context->is_inherited()) {
        return;
    }
    const KeptException kept;
    if (PyErr_ResourceWarning(context, 1, "unclosed %R", static_cast<PyObject*>(context)) != 0) {
        PyErr_WriteUnraisable(context);
    }
}

void abandon(ContextObject* context) noexcept {
    if (context->is_inherited()) {
        release_inherited(context);
        return;
    }
    warn_if_open(context);
    context->start_closing();
    unbind(context);
    if (context->engine() == nullptr) {
        return;
    }
    if (context->is_idle()) {
        destroy_engine(context, false);
        return;
    }
    // Only polls are in flight. Once cancelled, they keep the context until a sweep reaps them.
    context->drop();
    cancel_all(context);
}

void release_inherited(ContextObject* context) noexcept {
    context->start_closing();
    unbind(context);
    while (auto* operation = context->in_flight.front()) {
        OperationLife::abandon_flight(context, operation);
        Py_DECREF(operation);
    }
    context->release_engine().reset();
    context->release_eventfd().reset();
}

}  // namespace python
