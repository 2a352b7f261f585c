// SPDX-License-Identifier: Apache-2.0
// Threads of ours that share the program's table of descriptors, unlike the worker pool's: they
// close the program's numbers, so that its record locks go and its files are flushed; and they
// carry out operations on paths for threads that have other rights than the worker pool.
//
// A thread of these is started by the program's thread that needs it, and so has its rights. It
// ends when it had nothing to do for a while.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/call.hpp"
#include "engine/request.hpp"

namespace engine {

// The owner of requests: gives them to these threads, and gets them back.
class ProgramThreadsOwner {
public:
    ProgramThreadsOwner() = default;
    ProgramThreadsOwner(const ProgramThreadsOwner&) = delete;
    ProgramThreadsOwner& operator=(const ProgramThreadsOwner&) = delete;

    // The request's call has been carried out, with this result. In the thread that did it.
    virtual void hand_back(Request& request, std::int64_t result) noexcept = 0;

protected:
    ~ProgramThreadsOwner() = default;
};

// Closes the program's number in the background. At once where that can't wait: a file in memory or
// on a local disk that is only read and still has a name. An error is lost.
void close_soon(int fd) noexcept;

// Whether closing the number can't wait.
bool closes_at_once(int fd) noexcept;

// Has a request's call carried out, and handed back to its owner. Returns 0 or an errno.
int run_in_program_thread(Request& request, std::shared_ptr<ProgramThreadsOwner> owner) noexcept;

}  // namespace engine
