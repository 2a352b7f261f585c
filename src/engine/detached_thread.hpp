// SPDX-License-Identifier: Apache-2.0
// Starts threads of ours.
#pragma once

#include <csignal>
#include <cstddef>

namespace engine {

// While it lives, this thread takes no signals, nor does a thread that it starts: signals are for
// the program's threads.
class SignalsBlocked {
public:
    SignalsBlocked() noexcept;
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked();

private:
    sigset_t before_{};
};

// Starts a thread that nobody joins and that takes no signals. Returns 0 or an errno.
int start_detached_thread(std::size_t stack_size, void* (*body)(void*), void* argument) noexcept;

}  // namespace engine
