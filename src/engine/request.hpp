// SPDX-License-Identifier: Apache-2.0
// One request: what is asked for, and what an engine needs to carry it out.
#pragma once

#include <libaio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/file_status.hpp"
#include "engine/stream_key.hpp"

namespace engine {

// What is asked for. Each has an entry in the table of operations (operations/operation_type.hpp).
enum class Opcode : std::uint8_t {
    read,
    write,
    readv,
    writev,
    fsync,
    fdsync,
    poll,
    call,  // what OperationData::call does: operations on paths, and several system calls in one
};

// What to expect of the submission of a request: whether it waits, for a disk, a pipe or a server
// on the network, and whether the request is over when it returns.
enum class Pace : std::uint8_t {
    at_once,       // done inside the submission, from memory
    inside,        // done inside the submission, which may wait for a disk
    perhaps,       // the submission does not wait; the request may be over when it returns, or not
    asynchronous,  // the submission does not wait, the completion comes later
    unknown,       // the submission may wait, the completion may come later
};

constexpr bool may_block(Pace pace) noexcept {
    return pace == Pace::inside || pace == Pace::unknown;
}
constexpr bool ends_inside(Pace pace) noexcept {
    return pace == Pace::inside || pace == Pace::at_once;
}

// Which way an engine that has several sends a request.
enum class Route : std::uint8_t {
    inside,   // a system call of the submitting thread's, which does not wait
    aio,      // kernel AIO
    reactor,  // the thread that waits for many requests at once: io_uring, or epoll
    workers,  // a thread that waits for this one
};

// Why a request did not go the shortest way.
enum class Reason : std::uint8_t { uncached, unsupported, large, write, stream, other };

// Where a request is that was handed to threads of ours. Behind their lock.
enum class Stage : std::uint8_t {
    none,
    in_inbox,       // waiting for the reactor to take it up
    without_files,  // waiting for room in our threads' table
    behind_device,  // waiting until fewer of its device are at work
    in_queue,       // waiting for a worker
    in_reactor,
    in_worker,
    delayed,            // a call that is to be run again after a while
    in_program_thread,  // see program_threads.hpp
    over,  // but for what the reactor or a worker does with its file: in the inbox or the queue
};

// What is known of a cancellation. `yes`: the request ends with ECANCELED; `no`: it ends by itself.
enum class CancelAnswer : std::uint8_t { no, yes, pending };

// A stream's request that an epoll reactor has: where it is.
enum class StreamPlace : std::uint8_t { none, fresh, watched, behind, over };

// Who takes what there is to read in a stream. It is lost if a task that gets it is cancelled
// before it runs, so the task's own step takes it.
enum class StreamRead : std::uint8_t {
    by_anyone,     // whoever carries out the request
    by_submitter,  // the submitting thread, if it need not wait
    later,         // the request completes with -EAGAIN when there is something (`is_ready`)
};

class Call;
class DeviceQueues;
struct FileRef;
struct PoolClient;
struct Worker;

// How many requests for a disk go to the kernel together. It holds back what comes in one call, and
// a disk that has nothing else to do is to begin with the first while we make the next.
inline constexpr std::size_t disk_batch_size = 8;

// Direct I/O of more than this takes long to submit: the kernel pins each page first.
inline constexpr std::size_t quickly_pinned = std::size_t{1} << 20U;

// What is asked for: the same for every engine.
struct OperationData {
    Opcode opcode{};
    int fd = -1;
    std::uint64_t offset = 0;
    // Whether to transfer at the position of the open file instead of at `offset`.
    bool at_position = false;
    void* address = nullptr;  // the buffer, or for readv and writev the array of iovec
    std::size_t length = 0;   // bytes, or for readv and writev the number of iovec
    int rw_flags = 0;         // RWF_*
    std::uint16_t poll_events = 0;
    std::uint16_t priority = 0;  // ioprio; 0: that of the submitting thread
    int eventfd = -1;            // to be signalled upon completion; -1: none
    // Whether the signal may be left out if the request is over when submit() returns.
    bool signals_only_later = false;
    // Whether writing to `eventfd` may wait: one that others may fill.
    bool eventfd_may_block = true;
    // Whether `eventfd` is known to be one.
    bool eventfd_is_checked = false;
    // Whether copying from or to the memory may itself wait: it is mapped from a file.
    bool memory_may_wait = false;
    // Of a read: whether the memory is the submitter's own choice, who asks `is_direct` first, or
    // leaves it to the engine to read by way of aligned memory (`is_aligned_later`).
    bool takes_any_memory = false;
    bool is_aligned_later = false;
    StreamRead stream_read{};

    Call* call = nullptr;  // of Opcode::call; the submitter's
    int second_fd = -1;    // a call's
};

// What engines note of a request on its way.
struct RequestState {
    // What plan() found.
    Pace pace{};
    bool is_direct = false;  // the file is open for direct I/O, as far as it matters

    // Kernel AIO is told not to wait: what it refuses for that goes another way.
    bool is_tried = false;
    FileIdentity tried_file;     // what it is tried on; all 0: not asked for
    bool is_only_tried = false;  // it may wait otherwise
    bool only_waits = false;     // of a stream: until there is something to read
    bool is_ready = false;       // it completed for that
    FileIdentity ready_file;     // and then it was this file
    bool is_in_memory = false;   // the file is: reading it never waits
    // The system call itself may wait inside a submission: io_uring gives it to a thread of its
    // own.
    bool waits_in_submission = false;

    // The engines' own.
    bool cancelled = false;  // somebody asked for it; read by the thread that carries it out
    // Of the last cancellation since the submission.
    CancelAnswer cancel_answer = CancelAnswer::no;
    bool cancel_only_stream = false;  // at the end: what will not end by itself
    bool cancel_is_posted = false;    // for the reactor, which has not looked at it yet
    bool cancel_is_waiting = false;   // to be given to io_uring
    int cancel_place = -1;            // in the list of those that io_uring has not answered yet
    std::uint32_t flight = 0;         // counts submissions
    Route route = Route::aio;
    Stage stage{};
    Reason reason{};
    bool is_brief = false;        // for a worker: most likely a matter of microseconds
    bool was_in_reactor = false;  // a worker may wait for it
    bool was_delayed = false;     // a call that was run before
    bool is_reactors = false;  // a worker is not to wait for it, and gives it back to the reactor
    iocb control_block{};      // kernel AIO's
    std::int64_t result = 0;
    FileRef* file = nullptr;         // what threads of ours use instead of `fd`
    FileRef* second_file = nullptr;  // of `second_fd`
    FileRef* signal_file = nullptr;  // and of `eventfd`
    int closing_fd = -1;             // what io_uring is to close
    // Of a read that threads of ours carried out: the stream from which its bytes came. The
    // number may be another file's by then.
    std::optional<StreamKey> source;
    bool may_be_given_back = false;  // if it is cancelled while its file is being closed
    int poll_proxy = -1;             // an epoll(7) that io_uring polls in place of the file
};

// From a successful submission until reap() returns it, an engine and the kernel refer to the
// request and to all that it points to: it must neither move nor go away.
struct Request : OperationData, RequestState {
    void* owner = nullptr;        // the submitter's, by which it knows a completed request
    Request* previous = nullptr;  // in one list of the engine's at a time
    Request* next = nullptr;
    Request* previous_posted = nullptr;  // in the list of cancellations
    Request* next_posted = nullptr;
    StreamPlace stream_place{};
    Worker* worker = nullptr;               // that carries it out, and may be interrupted
    DeviceQueues* device_queues = nullptr;  // where it waits
    int device_place = -1;                  // among those of its device that are at work, or wait
    std::uint8_t turn = 0;                  // among those that wait for one device
    std::uint64_t path_device = 0;          // of a call, once a worker has found it; 0: not known
    PoolClient* client = nullptr;           // the engine's whose threads' it is
};

// A thread may cancel a request while another is about to carry it out.
inline bool is_set(const bool& flag) noexcept {
    return std::atomic_ref(const_cast<bool&>(flag)).load(std::memory_order_relaxed);
}
inline bool is_cancelled(const Request& request) noexcept { return is_set(request.cancelled); }
inline void set_cancelled(Request& request, bool cancelled) noexcept {
    std::atomic_ref(request.cancelled).store(cancelled, std::memory_order_relaxed);
}

constexpr bool is_read(Opcode opcode) noexcept {
    return opcode == Opcode::read || opcode == Opcode::readv;
}
constexpr bool is_write(Opcode opcode) noexcept {
    return opcode == Opcode::write || opcode == Opcode::writev;
}
constexpr bool is_vectored(Opcode opcode) noexcept {
    return opcode == Opcode::readv || opcode == Opcode::writev;
}
constexpr bool is_sync(Opcode opcode) noexcept {
    return opcode == Opcode::fsync || opcode == Opcode::fdsync;
}
constexpr bool transfers_data(Opcode opcode) noexcept {
    return is_read(opcode) || is_write(opcode);
}

// The bytes that a read or write asks for.
std::size_t size_of(const OperationData& operation) noexcept;

}  // namespace engine
