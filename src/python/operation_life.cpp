// SPDX-License-Identifier: Apache-2.0
#include "python/operation_life.hpp"

#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "engine/unread_bytes.hpp"
#include "python/awaitable_state.hpp"
#include "python/moving_positions.hpp"
#include "python/operation.hpp"
#include "python/read_memory.hpp"
#include "python/reference_counts.hpp"

namespace python {
namespace {

// Whether getevents() will return the operation even if no other code holds it.
bool will_be_owned(const Operation* operation) noexcept {
    return !operation->eventfd && !operation->is_awaited;
}

}  // namespace

void OperationLife::change(OperationObject* operation, [[maybe_unused]] OperationState from,
                           OperationState to) noexcept {
    assert(operation->state == from);
    operation->state.value_ = to;
}

// --- submission

OperationState OperationLife::claim(OperationObject* operation) noexcept {
    const OperationState before = operation->state;
    assert(before == OperationState::created || before == OperationState::completed);
    operation->state.value_ = OperationState::submitting;
    return before;
}

void OperationLife::unclaim(OperationObject* operation, OperationState before) noexcept {
    change(operation, OperationState::submitting, before);
}

void OperationLife::begin_flight(ContextObject* context, OperationObject* operation) noexcept {
    assert(operation->listing == Listing::none);
    change(operation, OperationState::submitting, OperationState::in_flight);
    operation->listing.value_ = Listing::in_flight;
    context->in_flight.push_back(operation);
    Py_INCREF(operation);
    count_flight(context, operation, 1);
    operation->flight_period.value_ = context->recent_flights.begin();
    if (operation->request.at_position) {
        begin_moving(operation->request.fd);
    }
}

void OperationLife::leave_flight(ContextObject* context, OperationObject* operation) noexcept {
    assert(operation->listing == Listing::in_flight);
    operation->listing.value_ = Listing::none;
    context->in_flight.remove(operation);
    count_flight(context, operation, -1);
    context->recent_flights.end(operation->flight_period);
    if (operation->request.at_position) {
        end_moving(operation->request.fd);
    }
}

void OperationLife::count_flight(ContextObject* context, const OperationObject* operation,
                                 int by) noexcept {
    const auto change = static_cast<std::size_t>(by);  // -1 wraps around, as it is to
    context->to_be_owned.value_ += will_be_owned(operation) ? change : 0;
    context->eventfds_in_flight.value_ += operation->eventfd ? change : 0;
    context->unsignalled.value_ += operation->request.eventfd < 0 ? change : 0;
}

void OperationLife::end_flight(ContextObject* context, OperationObject* operation) noexcept {
    leave_flight(context, operation);
    give_back_borrowed(context, operation);  // it was awaited meanwhile
    change(operation, OperationState::in_flight, OperationState::submitting);
    Py_DECREF(operation);
}

void OperationLife::abandon_flight(ContextObject* context, OperationObject* operation) noexcept {
    leave_flight(context, operation);
}

// --- completion

// Stores the result. The memory of a read that failed is of no use any more.
void OperationLife::store_result(OperationObject* operation, std::int64_t result) noexcept {
    const bool is_read = operation->kind == OperationKind::read;
    if (is_read && result < 0) {
        // The last result, which may still be in aligned memory, is lost with that.
        operation->memory.payload_aligned = false;
    }
    operation->result = is_read && result >= 0 ? accept_read(*operation, result) : result;
}

void OperationLife::complete(ContextObject* context, OperationObject* operation,
                             std::int64_t result) noexcept {
    leave_flight(context, operation);
    const bool is_unwanted = operation->is_awaited && operation->keeps_bytes &&
                             (operation->awaiter == nullptr || operation->awaiter->deferred);
    if (is_unwanted && result > 0 && operation->request.source) {
        engine::keep_unread(*operation->request.source, operation->request, result);
    } else if (result == -ECANCELED) {
        engine::tell_of_unread();  // our thread may have kept the bytes that it read
    }
    store_result(operation, result);
    change(operation, OperationState::in_flight, OperationState::completed);
    if (result != -ECANCELED) {
        count_as_cancelled(context, operation, false);
    }
    operation->is_counted_as_cancelled.value_ = false;
    ++context->statistics_.completed;
    const bool has_failed = result < 0 && !operation->request.is_ready;
    context->statistics_.failed += has_failed ? 1 : 0;
    if (operation->is_awaited) {
        give_back_borrowed(context, operation);
        if (operation->awaiter != nullptr) {
            make_ready(context, operation);
        }
    } else if (will_be_owned(operation)) {
        if (!context->is_dropped()) {
            make_collectable(context, operation, Listing::owned);
        }
    } else if (count_references(operation) != 1) {
        make_collectable(context, operation, Listing::weak);
    }
}

void OperationLife::complete_at_once(ContextObject* context, OperationObject* operation,
                                     std::int64_t result) noexcept {
    const OperationState before = operation->state;
    assert(before == OperationState::created);
    store_result(operation, result);
    change(operation, before, OperationState::completed);
    auto& statistics = context->statistics_;
    ++statistics.submissions;
    ++statistics.submitted;
    ++statistics.completed;
}

void OperationLife::complete_claimed(OperationObject* operation, std::int64_t result) noexcept {
    store_result(operation, result);
    change(operation, OperationState::submitting, OperationState::completed);
}

void OperationLife::count_as_cancelled(ContextObject* context, OperationObject* operation,
                                       bool is_cancelled) noexcept {
    if (std::exchange(operation->is_counted_as_cancelled.value_, is_cancelled) != is_cancelled) {
        context->statistics_.cancelled += is_cancelled ? 1U : ~std::uint64_t{0};
    }
}

// --- what getevents hands out

void OperationLife::make_collectable(ContextObject* context, OperationObject* operation,
                                     Listing listing) noexcept {
    assert(operation->state == OperationState::completed && operation->listing == Listing::none);
    operation->listing.value_ = listing;
    context->collectable.push_back(operation);
    if (listing == Listing::owned) {
        ++context->owned_results.value_;
        Py_INCREF(operation);
    }
}

void OperationLife::forget(ContextObject* context, OperationObject* operation) noexcept {
    const Listing listing = operation->listing;
    assert(is_collectable(listing));
    context->collectable.remove(operation);
    // release: stored last, since an operation that is in no list is destroyed without waiting for
    // a lock
    std::atomic_ref(operation->listing.value_).store(Listing::none, std::memory_order_release);
    if (listing == Listing::owned) {
        --context->owned_results.value_;
        Py_DECREF(operation);
    }
}

bool OperationLife::is_unlisted(const OperationObject* operation) noexcept {
    auto& listing = const_cast<Listing&>(operation->listing.value_);
    // acquire: once the operation is in no list, no other thread looks at it
    return std::atomic_ref(listing).load(std::memory_order_acquire) == Listing::none;
}

// --- awaiting

void OperationLife::await_new(OperationObject* operation, AwaitableObject* awaiter) noexcept {
    operation->is_awaited.value_ = true;
    operation->keeps_bytes = false;
    operation->awaiter.value_ = awaiter;
}

void OperationLife::await_submitted(ContextObject* context, OperationObject* operation,
                                    AwaitableObject* awaiter) noexcept {
    assert(operation->state == OperationState::in_flight && operation->awaiter == nullptr);
    context->to_be_owned.value_ -= will_be_owned(operation) ? 1 : 0;
    if (!operation->is_borrowed) {
        operation->is_borrowed.value_ = true;
        ++context->binding.borrowed.value_;
    }
    operation->is_awaited.value_ = true;
    operation->awaiter.value_ = awaiter;
}

void OperationLife::give_back_borrowed(ContextObject* context,
                                       OperationObject* operation) noexcept {
    if (operation->is_borrowed) {
        operation->is_borrowed.value_ = false;
        --context->binding.borrowed.value_;
    }
}

void OperationLife::end_await(ContextObject* context, OperationObject* operation,
                              bool is_programs) noexcept {
    leave_queue(context->binding, operation);
    operation->awaiter.value_ = nullptr;
    if (is_programs && operation->state == OperationState::in_flight) {
        operation->is_awaited.value_ = false;
        give_back_borrowed(context, operation);
        context->to_be_owned.value_ += will_be_owned(operation) ? 1 : 0;
    }
}

void OperationLife::await_no_more(OperationObject* operation) noexcept {
    assert(operation->state == OperationState::submitting && operation->awaiter == nullptr);
    operation->is_awaited.value_ = false;
}

void OperationLife::enqueue(ContextObject* context, OperationObject* operation) noexcept {
    assert(operation->listing == Listing::none && operation->awaiter != nullptr);
    operation->listing.value_ = Listing::queued;
    context->binding.queued.push_back(operation);
}

void OperationLife::enqueue_in_front(ContextObject* context, OperationObject* operation) noexcept {
    assert(operation->listing == Listing::none && operation->awaiter != nullptr);
    operation->listing.value_ = Listing::queued;
    context->binding.queued.push_front(operation);
}

void OperationLife::make_ready(ContextObject* context, OperationObject* operation) noexcept {
    leave_queue(context->binding, operation);
    assert(operation->listing == Listing::none);
    operation->listing.value_ = Listing::ready;
    context->binding.ready.push_back(operation);
}

void OperationLife::leave_queue(LoopBinding& binding, OperationObject* operation) noexcept {
    const Listing listing = operation->listing;
    if (listing == Listing::queued) {
        binding.queued.remove(operation);
    } else if (listing == Listing::ready) {
        binding.ready.remove(operation);
    } else {
        return;
    }
    operation->listing.value_ = Listing::none;
}

}  // namespace python
