// SPDX-License-Identifier: Apache-2.0
// Ends a system call of one of our threads that may wait for ever, such as a write to a terminal
// that nobody reads. It does so by a signal whose handler does nothing: the system call fails with
// EINTR, or returns the number of bytes transferred so far.
//
// The signal is the last real-time signal that the program leaves at its default. The library sets
// its handler before one of our threads first makes such a call, and sends it only to our threads.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace engine {

// As long as this object exists, the thread that made it can be interrupted. All other signals stay
// blocked.
class Interruptible {
public:
    Interruptible() noexcept;
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;
    ~Interruptible();

private:
    int number_;
};

// Interrupts a thread that has an Interruptible. The signal may arrive just before the thread's
// system call: repeat it until the thread has returned from the call.
void interrupt(pthread_t thread) noexcept;

}  // namespace engine
