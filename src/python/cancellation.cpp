// SPDX-License-Identifier: Apache-2.0
#include "python/cancellation.hpp"

#include <chrono>

#include "python/completion.hpp"
#include "python/context_lock.hpp"
#include "python/gil.hpp"
#include "python/operation_life.hpp"
#include "python/operation_lock.hpp"

namespace python {
namespace {

using engine::CancelAnswer;

// How long to wait for an answer before checking for signals.
constexpr std::chrono::milliseconds slice(20);

CancelAnswer wait_for_answer(ContextObject* context, OperationObject* operation,
                             std::uint32_t flight) noexcept {
    context->enter_engine(0);
    auto answer = CancelAnswer::pending;
    {
        const GilRelease release;
        answer = context->engine()->wait_for_answer(operation->request, flight, slice);
    }
    context->leave_engine(0);
    return answer;
}

}  // namespace

CancelAnswer post_cancellation(ContextObject* context, OperationObject* operation) noexcept {
    const auto answer = context->engine()->post_cancellation(operation->request);
    // counted until the engine answers `no` or the operation completes otherwise
    if (answer != CancelAnswer::no) {
        OperationLife::count_as_cancelled(context, operation, true);
    }
    return answer;
}

PyObject* cancel(ContextObject* context, OperationObject* operation) {
    {
        const ContextLock lock(context);
        if (!check_usable(context)) {
            return nullptr;
        }
        reap(context);
    }
    const OperationLock lock(operation);
    const bool is_here =
        operation->state == OperationState::in_flight && context_of(operation) == context;
    if (!is_here) {
        PyErr_Format(PyExc_ValueError, "%R is not in flight in this context", operation);
        return nullptr;
    }
    if (context->engine() == nullptr) {
        Py_RETURN_FALSE;
    }
    const auto flight = operation->request.flight;
    auto answer = post_cancellation(context, operation);
    while (answer == CancelAnswer::pending) {
        answer = wait_for_answer(context, operation, flight);
        if (answer == CancelAnswer::pending && PyErr_CheckSignals() != 0) {
            return nullptr;
        }
        if (context->engine() == nullptr) {
            break;  // a signal handler has closed the context
        }
    }
    const bool is_same = operation->request.flight == flight &&
                         operation->state == OperationState::in_flight &&
                         context_of(operation) == context;
    if (is_same && answer == CancelAnswer::no) {
        OperationLife::count_as_cancelled(context, operation, false);
    }
    return PyBool_FromLong(answer == CancelAnswer::yes ? 1 : 0);
}

}  // namespace python
