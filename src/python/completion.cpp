// SPDX-License-Identifier: Apache-2.0
#include "python/completion.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "python/context_lock.hpp"
#include "python/errors.hpp"
#include "python/gil.hpp"
#include "python/loop_binding.hpp"
#include "python/operation_life.hpp"
#include "python/reference_counts.hpp"

namespace python {
namespace {

using Clock = std::chrono::steady_clock;

// Whether getevents() should wait for an operation in flight.
bool may_hand_out_more(const ContextObject* context) noexcept {
    if (context->to_be_owned != 0) {
        return true;
    }
    // getevents() returns operations that signal an EventFD of the program if other code still
    // holds them when they complete.
    for (auto* operation = context->in_flight.front(); operation != nullptr;
         operation = OperationList::next(operation)) {
        if (!operation->is_awaited && seems_shared(operation)) {
            return true;
        }
    }
    return false;
}

engine::Timeout time_left(std::optional<Clock::time_point> deadline) {
    if (!deadline) {
        return std::nullopt;
    }
    return std::max(*deadline - Clock::now(), Clock::duration::zero());
}

// False with an exception set.
bool wait_for_enough(ContextObject* context, std::size_t min_nr, engine::Timeout timeout) {
    const auto deadline =
        timeout ? std::optional(Clock::now() + *timeout) : std::optional<Clock::time_point>();
    bool in_time = true;
    for (;;) {
        const auto ticket = context->engine()->ticket();
        reap(context);
        if (!check_usable(context)) {
            return false;
        }
        if (context->collectable.size() >= min_nr || !in_time || !may_hand_out_more(context)) {
            return true;
        }
        const auto left = time_left(deadline);
        if (left == engine::Timeout(0)) {
            return true;
        }
        const int status = wait_for_completions(context, ticket, left);
        in_time = status != ETIMEDOUT;
        if (status == EINTR) {
            if (PyErr_CheckSignals() != 0) {
                return false;
            }
        } else if (status != 0 && status != ETIMEDOUT) {
            raise_os_error(status, "waiting for completions");
            return false;
        }
        if (!check_usable(context)) {
            return false;
        }
    }
}

// Takes out the operation that getevents() returns next. Returns null if the list holds no
// reference to it and its destruction has begun.
Ref take_collectable(ContextObject* context) noexcept {
    auto* operation = context->collectable.front();
    auto held =
        operation->listing == Listing::owned ? Ref::borrow(operation) : try_reference(operation);
    forget(context, operation);
    return held;
}

}  // namespace

void tell_of_room(const ContextObject* context) noexcept {
    if (!context->binding.queued.empty() && context->room() != 0 && !comes_to_queue(context) &&
        !context->is_inherited()) {
        tell_loop(context);
    }
}

bool reap_some(ContextObject* context) noexcept {
    std::array<engine::Completion, 64> completions;
    if (context->engine() == nullptr || context->is_inherited()) {
        return false;
    }
    const auto count = context->engine()->reap(completions);
    if (count == 0) {
        return false;
    }
    std::array<OperationObject*, completions.size()> operations;
    for (std::size_t i = 0; i < count; ++i) {
        operations[i] = operation_of(completions[i].request);
        OperationLife::complete(context, operations[i], completions[i].result);
    }
    // The buffers are released after all lists are right, because a release may run Python code.
    for (std::size_t i = 0; i < count; ++i) {
        release_buffers(operations[i]);
        Py_DECREF(operations[i]);
    }
    tell_of_room(context);
    return true;
}

void reap(ContextObject* context) noexcept {
    while (reap_some(context)) {
    }
}

void forget(ContextObject* context, OperationObject* operation) noexcept {
    const bool frees_place = operation->listing == Listing::owned;
    OperationLife::forget(context, operation);
    if (frees_place) {
        tell_of_room(context);
    }
}

void empty_eventfd(int fd) noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto emptied = read(fd, &count, sizeof count);
}

void empty_eventfd_if_collected(ContextObject* context) noexcept {
    // The eventfd stays readable if `unsignalled` is not 0: such operations signal no eventfd when
    // they complete, so the program has to call getevents() to find them.
    if (!context->eventfd_is_watched() || context->owned_results != 0 ||
        context->unsignalled != 0 || context->engine() == nullptr || context->is_inherited()) {
        return;
    }
    empty_eventfd(context->eventfd().get());
    reap(context);  // operations that completed in between will not signal again
    if (context->owned_results != 0) {
        signal_eventfd(context->eventfd().get());
    }
    if (context->binding.borrowed != 0 || !context->binding.ready.empty()) {
        tell_loop(context);  // this may have emptied a signal that was for the loop
    }
}

int fileno_of(ContextObject* context) {
    if (!check_usable(context)) {
        return -1;
    }
    if (context->watch_eventfd()) {
        if (context->owned_results != 0 || context->unsignalled != 0) {
            signal_eventfd(context->eventfd().get());
        } else {
            empty_eventfd_if_collected(
                context);  // empties signals of results that were collected before
            if (!check_usable(context)) {
                return -1;
            }
        }
    }
    return context->eventfd().get();
}

int wait_for_completions(ContextObject* context, engine::Engine::Ticket ticket,
                         engine::Timeout timeout) {
    bool sliced = false;
    // The engine may yet refuse an unconfirmed operation. Then no completion ends the wait.
    constexpr auto slice = std::chrono::milliseconds(5);
    if (context->unconfirmed() != 0 && (!timeout || *timeout > slice)) {
        timeout = slice;
        sliced = true;
    }
    context->note_wait();
    context->enter_engine(0);
    int status = 0;
    {
        const GilRelease release;
        status = context->engine()->wait(ticket, timeout);
    }
    context->leave_engine(0);
    return sliced && status == ETIMEDOUT ? 0 : status;
}

PyObject* collect(ContextObject* context, std::size_t min_nr, std::size_t max_nr,
                  engine::Timeout timeout) {
    const ContextLock lock(context);
    if (!check_usable(context) || !wait_for_enough(context, min_nr, timeout)) {
        return nullptr;
    }
    const auto wanted = std::min(max_nr, context->collectable.size());
    auto list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(wanted)));
    if (!list) {
        return nullptr;
    }
    // Allocating the list may have run the garbage collector, which may have freed operations that
    // `collectable` does not own.
    std::size_t count = 0;
    while (count < wanted && !context->collectable.empty()) {
        auto operation = take_collectable(context);
        if (operation) {
            PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(count++), operation.release());
        }
    }
    Py_SET_SIZE(list.get(), static_cast<Py_ssize_t>(count));  // the remaining places are null
    empty_eventfd_if_collected(context);
    return list.release();
}

}  // namespace python
