// SPDX-License-Identifier: Apache-2.0
// An operation that threads of ours carry out by system calls of their own: of a path, or of
// several system calls in one.
//
// A call is an object with its arguments and its results. What its pointers name, as paths and
// buffers, the submitter keeps alive until the request has completed.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

#include "engine/request.hpp"

namespace engine {

class FileReturn;

// What a call may use where it runs.
struct CallFiles {
    // The request's fd and second_fd in the table of the calling thread; as given where they name
    // no file (AT_FDCWD).
    int first = -1;
    int second = -1;
    // Whether the calling thread has a table of its own; and by which way opened files then reach
    // the program: null for lack of numbers or memory.
    bool is_private = false;
    std::shared_ptr<FileReturn> returns;
    // Set when the request is cancelled: what takes long looks at it, and returns -ECANCELED.
    const bool* cancelled = nullptr;

    bool is_cancelled() const noexcept { return cancelled != nullptr && is_set(*cancelled); }
};

class Call {
public:
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    virtual ~Call() = default;

    // Which threads may carry it out.
    enum class Needs : std::uint8_t {
        files,          // any thread of ours: it uses no path
        rights,         // one with the submitting thread's rights, root and working directory
        programs_table  // one that shares the program's table of descriptors
    };
    virtual Needs needs() const noexcept { return Needs::rights; }

    // The paths that it looks up, from CallFiles::first and ::second; null: none. What is known of
    // them without waiting tells which device it may wait for.
    struct Paths {
        const char* first = nullptr;
        const char* second = nullptr;
    };
    virtual Paths paths() const noexcept { return {}; }

    // In the submitting thread: carries it out if that can't wait. No value: it may.
    virtual std::optional<std::int64_t> try_at_once() noexcept { return std::nullopt; }

    // In a thread that may wait. Returns 0 or more, a negative errno, or `not_yet`: to be run again
    // after a while.
    virtual std::int64_t run(const CallFiles& files) noexcept = 0;
    static constexpr std::int64_t not_yet = std::numeric_limits<std::int64_t>::min();

    // Instead of run(), in a thread of the same table: gives up what an earlier run() keeps open.
    virtual void abandon() noexcept {}
};

}  // namespace engine
