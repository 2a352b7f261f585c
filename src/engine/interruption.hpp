// SPDX-License-Identifier: Apache-2.0
// Ends a system call of a thread of ours that may wait for ever, as a write to a terminal that
// nobody reads: by a signal whose handler does nothing. The call returns EINTR, or what it has
// transferred by then.
//
// The signal is the last real-time signal that the program leaves at its default. Its disposition
// is changed when a thread of ours first makes such a call, and only threads of ours get it.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace engine {

// Lets the calling thread be interrupted. Every other signal stays blocked.
class Interruptible {
public:
    Interruptible() noexcept;
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;
    ~Interruptible();

private:
    int number_;
};

// A thread that is between the construction and the destruction of an Interruptible. The signal may
// reach it just before its call: repeat it for as long as the thread has not come back.
void interrupt(pthread_t thread) noexcept;

}  // namespace engine
