// SPDX-License-Identifier: Apache-2.0
// Our threads that share the program's descriptor table, unlike those of the worker pool. They
// close the program's numbers, which drops its record locks and flushes its files. They also carry
// out operations on paths for threads of the program whose rights differ from the worker pool's.
//
// Such a thread is started by the thread of the program that needs it, and so has the same rights.
// It ends when it had no work for a while.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/call.hpp"
#include "engine/request.hpp"

namespace engine {

// The interface of the owner of requests, which gives them to these threads and gets them back.
class ProgramThreadsOwner {
public:
    ProgramThreadsOwner() = default;
    ProgramThreadsOwner(const ProgramThreadsOwner&) = delete;
    ProgramThreadsOwner& operator=(const ProgramThreadsOwner&) = delete;

    // The request's call has been carried out, with this result. Called in the thread that carried
    // it out.
    virtual void hand_back(Request& request, std::int64_t result) noexcept = 0;

protected:
    ~ProgramThreadsOwner() = default;
};

// Closes a number of the program in the background; or at once, if that can't wait: for a file in
// memory, or one on a local disk that is open for reading only and still has a name. An error of
// close(2) is lost.
void close_soon(int fd) noexcept;

// Whether closing the number can't wait.
bool closes_at_once(int fd) noexcept;

// Has such a thread carry out the request's call, and then hand the request back to its owner.
// Returns 0 or an errno.
int run_in_program_thread(Request& request, std::shared_ptr<ProgramThreadsOwner> owner) noexcept;

}  // namespace engine
