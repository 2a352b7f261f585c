// SPDX-License-Identifier: Apache-2.0
// An operation that our threads carry out by plain system calls: an operation on a path, or several
// system calls in one.
//
// A call is an object with the arguments and the results of the operation. The submitter keeps the
// paths and buffers that it points to alive until the request has completed.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

#include "engine/request.hpp"

namespace engine {

class FileReturn;

// The descriptors that a call may use in the thread that runs it.
struct CallFiles {
    // The numbers of the request's fd and second_fd in the descriptor table of the calling thread;
    // unchanged if they are no files (AT_FDCWD).
    int first = -1;
    int second = -1;
    // Whether the calling thread has our threads' table instead of the program's. `returns` then
    // sends opened files to the program; it is null if there was no number or memory for it.
    bool is_private = false;
    std::shared_ptr<FileReturn> returns;
    // Set when the request is cancelled. A call that takes long looks at it, and returns
    // -ECANCELED.
    const bool* cancelled = nullptr;

    bool is_cancelled() const noexcept { return cancelled != nullptr && is_set(*cancelled); }
};

class Call {
public:
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    virtual ~Call() = default;

    // Which threads may carry out the call.
    enum class Needs : std::uint8_t {
        files,          // any thread of ours: the call uses no path
        rights,         // a thread with the submitting thread's rights, root and working directory
        programs_table  // a thread that shares the program's descriptor table
    };
    virtual Needs needs() const noexcept { return Needs::rights; }

    // The paths that the call looks up, relative to CallFiles::first and ::second; null: none. They
    // tell for which device the call may wait, as far as that is known without waiting.
    struct Paths {
        const char* first = nullptr;
        const char* second = nullptr;
    };
    virtual Paths paths() const noexcept { return {}; }

    // Called in the submitting thread: carries out the call if that can't wait. No value: the call
    // may wait, and nothing was done.
    virtual std::optional<std::int64_t> try_at_once() noexcept { return std::nullopt; }

    // Called in the submitting thread before a thread with another descriptor table carries out the
    // call: looks whether the program's table has room for the result. If not, run() fails before
    // it changes anything.
    virtual void look_for_room() noexcept {}

    // Called in a thread that may wait: carries out the call. Returns 0 or more, a negative errno,
    // or `not_yet` if it is to be run again after a while.
    virtual std::int64_t run(const CallFiles& files) noexcept = 0;
    static constexpr std::int64_t not_yet = std::numeric_limits<std::int64_t>::min();

    // Called instead of run() if no thread can be had to run it. Returns what the call returns.
    virtual std::int64_t without_thread(int error) noexcept { return -error; }

    // Called instead of another run(), in a thread with the same descriptor table: closes the files
    // that an earlier run() keeps open.
    virtual void abandon() noexcept {}
};

}  // namespace engine
