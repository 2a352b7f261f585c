// SPDX-License-Identifier: Apache-2.0
// The life of an operation: only this code changes an operation's state, the lists that it is in,
// and the counts of these lists.
//
//     created, completed   claim()             submitting
//     submitting           unclaim()           the state before claim()
//     submitting           begin_flight()      in_flight
//     in_flight            end_flight()        submitting      (the engine did not take it)
//     in_flight            complete()          completed
//     created              complete_at_once()  completed
//     submitting           complete_claimed()  completed
//
// In debug builds, each transition asserts the state that it starts from. All functions are called
// with the operation's context locked; those without a parameter for the context, with the
// operation itself locked. None runs Python code.
#pragma once

#include <cstdint>

#include "python/context.hpp"

namespace python {

struct AwaitableObject;

class OperationLife {
public:
    // --- submission

    // Claims the operation for a thread that will submit it, or change what it would submit; no
    // other thread can claim it then. An operation that getevents() would return stays in that
    // list.
    static OperationState claim(OperationObject* operation) noexcept;

    // Ends the claim without a submission: the operation is in its earlier state again.
    static void unclaim(OperationObject* operation, OperationState before) noexcept;

    // The operation is handed to the engine. The list in_flight takes a reference of its own.
    static void begin_flight(ContextObject* context, OperationObject* operation) noexcept;

    // The engine did not take the operation. The list gives up its reference, which must not be the
    // last.
    static void end_flight(ContextObject* context, OperationObject* operation) noexcept;

    // --- completion

    // The engine has completed the operation. The operation moves to the list of those whose task
    // is to be woken, to the list of those that getevents() returns, or to no list. The caller now
    // owns the reference that the list in_flight had.
    static void complete(ContextObject* context, OperationObject* operation,
                         std::int64_t result) noexcept;

    // Completes an operation that was never in flight.
    static void complete_at_once(ContextObject* context, OperationObject* operation,
                                 std::int64_t result) noexcept;

    // Completes an operation whose step has read from a stream that was ready. statistics() counted
    // the operation when the stream became ready.
    static void complete_claimed(OperationObject* operation, std::int64_t result) noexcept;

    // Sets whether statistics() counts the operation, until it has completed, among those whose
    // cancellation the kernel took.
    static void count_as_cancelled(ContextObject* context, OperationObject* operation,
                                   bool is_cancelled) noexcept;

    // For a child process, where the operation is not in flight and never completes. The caller now
    // owns the reference that the list in_flight had.
    static void abandon_flight(ContextObject* context, OperationObject* operation) noexcept;

    // --- what getevents hands out

    // Puts a completed operation into the list of those that getevents() returns. The list takes a
    // reference if `listing` is Listing::owned.
    static void make_collectable(ContextObject* context, OperationObject* operation,
                                 Listing listing) noexcept;

    // Takes the operation out of that list. The caller has a reference, so that the list's is never
    // the last.
    static void forget(ContextObject* context, OperationObject* operation) noexcept;

    // Whether the operation is in no list, so that no other thread looks at it. Needs no lock.
    static bool is_unlisted(const OperationObject* operation) noexcept;

    // --- awaiting

    // The awaitable, which has a reference to the operation, is to get the result of a submission
    // that it is about to make.
    static void await_new(OperationObject* operation, AwaitableObject* awaiter) noexcept;

    // The awaitable is to get the result of a submission that the program made; getevents() no
    // longer returns it.
    static void await_submitted(ContextObject* context, OperationObject* operation,
                                AwaitableObject* awaiter) noexcept;

    // The awaitable is gone; an operation in flight goes on. If the program submitted the operation
    // itself (`is_programs`), getevents() can return it again.
    static void end_await(ContextObject* context, OperationObject* operation,
                          bool is_programs) noexcept;

    // The program submits the operation itself: no awaitable gets the result.
    static void await_no_more(OperationObject* operation) noexcept;

    // Puts the operation into the queue: behind all others, or in front of them.
    static void enqueue(ContextObject* context, OperationObject* operation) noexcept;
    static void enqueue_in_front(ContextObject* context, OperationObject* operation) noexcept;

    // Lists the operation among those whose task is to be woken. It may be in the queue before.
    static void make_ready(ContextObject* context, OperationObject* operation) noexcept;

    // Takes the operation out of the queue, or of those whose task is to be woken, if it is there.
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
