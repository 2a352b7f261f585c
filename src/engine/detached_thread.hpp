// SPDX-License-Identifier: Apache-2.0
// Starts our threads.
#pragma once

#include <csignal>
#include <cstddef>

namespace engine {

// As long as this object exists, the thread that made it takes no signals, and neither does a
// thread that it starts: signals are for the program's threads.
class SignalsBlocked {
public:
    SignalsBlocked() noexcept;
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked();

private:
    sigset_t before_{};
};

// Starts a detached thread that takes no signals. Returns 0 or an errno.
int start_detached_thread(std::size_t stack_size, void* (*body)(void*), void* argument) noexcept;

}  // namespace engine
