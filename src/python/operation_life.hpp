// SPDX-License-Identifier: Apache-2.0
// The life of an operation: the only code that writes its state, the lists that it is in and what
// is counted of them.
//
//     created, completed   claim()             submitting
//     submitting           unclaim()           what it was before
//     submitting           begin_flight()      in_flight
//     in_flight            end_flight()        submitting      (the engine did not take it)
//     in_flight            complete()          completed
//     created, completed   complete_at_once()  completed
//     submitting           complete_claimed()  completed
//
// Each transition asserts, in debug builds, the state that it begins with. All are called with the
// context of the operation locked; those without a context, with the operation itself. None runs
// Python code.
#pragma once

#include <cstdint>

#include "python/context.hpp"

namespace python {

struct AwaitableObject;

class OperationLife {
public:
    // --- submission

    // A thread means to submit the operation, or to change what it would submit: no other can. It
    // stays in the list of what getevents hands out, if it is there.
    static OperationState claim(OperationObject* operation) noexcept;

    // Not submitted after all: it is as it was before.
    static void unclaim(OperationObject* operation, OperationState before) noexcept;

    // Handed to the engine: the list takes a reference of its own.
    static void begin_flight(ContextObject* context, OperationObject* operation) noexcept;

    // Not taken by the engine. The list gives its reference back, which must not be the last.
    static void end_flight(ContextObject* context, OperationObject* operation) noexcept;

    // --- completion

    // The engine is through with it. It goes to where it is found next: to who awaits it, to
    // getevents, or nowhere. The reference that the list in_flight had is the caller's now.
    static void complete(ContextObject* context, OperationObject* operation,
                         std::int64_t result) noexcept;

    // The same for one that was never in flight.
    static void complete_at_once(ContextObject* context, OperationObject* operation,
                                 std::int64_t result) noexcept;

    // The same for one whose step has taken what a stream had; it was counted when the stream
    // became ready.
    static void complete_claimed(OperationObject* operation, std::int64_t result) noexcept;

    // Whether statistics() counts it among those whose cancellation the kernel took; until it has
    // completed.
    static void count_as_cancelled(ContextObject* context, OperationObject* operation,
                                   bool is_cancelled) noexcept;

    // In a child process: it is not in flight there, and never completes. The reference of the list
    // is the caller's.
    static void abandon_flight(ContextObject* context, OperationObject* operation) noexcept;

    // --- what getevents hands out

    // Puts a completed operation there: with a reference, if `listing` is Listing::owned.
    static void make_collectable(ContextObject* context, OperationObject* operation,
                                 Listing listing) noexcept;

    // Takes it out. The caller has a reference: that of the list is never the last.
    static void forget(ContextObject* context, OperationObject* operation) noexcept;

    // Whether it is in no list; then no other thread looks at it. Needs no lock.
    static bool is_unlisted(const OperationObject* operation) noexcept;

    // --- awaiting

    // The awaitable, which has a reference, gets the result of what it is about to submit.
    static void await_new(OperationObject* operation, AwaitableObject* awaiter) noexcept;

    // The awaitable gets the result of what the program submitted: getevents does not.
    static void await_submitted(ContextObject* context, OperationObject* operation,
                                AwaitableObject* awaiter) noexcept;

    // The awaitable is gone; what is in flight goes on. One that the program submitted is the
    // program's again (`is_programs`), and can come out of getevents.
    static void end_await(ContextObject* context, OperationObject* operation,
                          bool is_programs) noexcept;

    // The program submits it itself.
    static void await_no_more(OperationObject* operation) noexcept;

    // Waits for its turn: behind all others, or in front of them.
    static void enqueue(ContextObject* context, OperationObject* operation) noexcept;
    static void enqueue_in_front(ContextObject* context, OperationObject* operation) noexcept;

    // Whoever awaits it is to be woken. It may be in the queue.
    static void make_ready(ContextObject* context, OperationObject* operation) noexcept;

    // Takes it out of the queue, or of those to be woken, if it is there.
    static void leave_queue(LoopBinding& binding, OperationObject* operation) noexcept;

private:
    static void change(OperationObject* operation, OperationState from, OperationState to) noexcept;
    static void count_flight(ContextObject* context, const OperationObject* operation,
                             int by) noexcept;
    static void give_back_borrowed(ContextObject* context, OperationObject* operation) noexcept;
    static void leave_flight(ContextObject* context, OperationObject* operation) noexcept;
    static void store_result(OperationObject* operation, std::int64_t result) noexcept;
};

}  // namespace python
