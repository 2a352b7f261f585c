// SPDX-License-Identifier: Apache-2.0
// One request: the operation that is asked for, and the state that an engine keeps of it.
#pragma once

#include <libaio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/file_status.hpp"
#include "engine/stream_key.hpp"

namespace engine {

// The kind of operation. Each has an entry in the table of operations
// (operations/operation_type.hpp).
enum class Opcode : std::uint8_t {
    read,
    write,
    readv,
    writev,
    fsync,
    fdsync,
    poll,
    call,  // runs OperationData::call: an operation on a path, or several system calls in one
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

// The route by which an engine carries out a request.
enum class Route : std::uint8_t {
    inside,   // a system call of the submitting thread, which does not wait
    aio,      // kernel AIO
    reactor,  // the thread that waits for many requests at once, by io_uring or epoll
    workers,  // a worker, which waits for this request alone
};

// Why a request could not take the shortest route.
enum class Reason : std::uint8_t { uncached, unsupported, large, write, stream, other };

// Where a request is that was handed to our threads. Read and written with the pool's lock held.
enum class Stage : std::uint8_t {
    none,
    in_inbox,       // waiting for the reactor to take it up
    without_files,  // waiting until its files have arrived in our threads' descriptor table
    behind_device,  // waiting until fewer requests of its device are at work
    in_queue,       // waiting for a worker
    in_reactor,
    in_worker,
    delayed,            // a call that is run again after a while
    in_program_thread,  // see program_threads.hpp
    over,  // has its result; in the inbox or the queue, for what is still to be done with its file
};

// The answer to a cancellation. `yes`: the request ends with ECANCELED; `no`: it ends by itself;
// `pending`: the answer is not known yet.
enum class CancelAnswer : std::uint8_t { no, yes, pending };

// Where in an epoll reactor a request for a stream is.
enum class StreamPlace : std::uint8_t { none, fresh, watched, behind, over };

// Which thread takes the bytes out of a stream. If another thread took them for a task that is
// cancelled before it runs, they would be lost; so the thread that runs the task may take them.
enum class StreamRead : std::uint8_t {
    by_anyone,     // the thread that carries out the request
    by_submitter,  // the submitting thread, if it need not wait
    later,         // none: the request completes with -EAGAIN when there are bytes (`is_ready`)
};

class Call;
class DeviceQueues;
struct FileRef;
struct PoolClient;
struct Worker;

// How many requests for a disk go to the kernel in one call. The kernel holds back the requests of
// one call until it has all of them; with few in a call, an idle disk begins with the first ones
// while we prepare the next.
inline constexpr std::size_t disk_batch_size = 8;

// Direct I/O of more than this takes long to submit: the kernel pins each page first.
inline constexpr std::size_t quickly_pinned = std::size_t{1} << 20U;

// The operation that is asked for, in the same words for every engine.
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
    int eventfd = -1;            // signalled upon completion; -1: none
    // Whether the signal may be left out if the request is over when submit() returns.
    bool signals_only_later = false;
    // Whether a write to `eventfd` may wait, because others may fill its counter.
    bool eventfd_may_block = true;
    // Whether `eventfd` is known to be an eventfd.
    bool eventfd_is_checked = false;
    // Whether to touch the memory may itself wait, because it is mapped from a file.
    bool memory_may_wait = false;
    // Of a read. `takes_any_memory`: the submitter allocates the memory itself, after plan() has
    // set `is_direct`. `is_aligned_later`: the engine reads into aligned memory of its own and
    // copies from there.
    bool takes_any_memory = false;
    bool is_aligned_later = false;
    StreamRead stream_read{};

    Call* call = nullptr;  // of Opcode::call; owned by the submitter
    int second_fd = -1;    // of Opcode::call: a second descriptor that it uses
};

// The state that engines keep of a request.
struct RequestState {
    // Set by plan().
    Pace pace{};
    bool is_direct = false;  // the file is open for direct I/O, as far as it matters

    // Kernel AIO is told not to wait (RWF_NOWAIT). If it refuses the request for that reason, the
    // request takes another route.
    bool is_tried = false;
    FileIdentity tried_file;     // the file of the try; all 0: not asked for
    bool is_only_tried = false;  // without RWF_NOWAIT, its submission may wait
    bool only_waits = false;     // waits until the stream has bytes, and leaves them there
    bool is_ready = false;       // it completed because the stream has bytes
    FileIdentity ready_file;     // the stream that `is_ready` tells of
    bool is_in_memory = false;   // the file is in memory: to read it never waits
    // The system call may wait inside the submission, so io_uring has to give it to a thread of
    // its own.
    bool waits_in_submission = false;

    // Used by engines alone.
    bool cancelled = false;  // to be cancelled; read by the thread that carries the request out
    // The answer to the last cancellation since the submission.
    CancelAnswer cancel_answer = CancelAnswer::no;
    bool cancel_only_stream = false;  // cancel the request only if it will not end by itself
    bool cancel_is_posted = false;    // the reactor has not looked at the cancellation yet
    bool cancel_is_waiting = false;   // the cancellation is yet to be given to io_uring
    int cancel_place = -1;            // in the list of cancellations that io_uring has; -1: none
    std::uint32_t flight = 0;         // counts submissions
    Route route = Route::aio;
    Stage stage{};
    Reason reason{};
    bool is_brief = false;        // a worker most likely needs only microseconds for it
    bool was_in_reactor = false;  // was the reactor's; a worker that gets it then may wait for it
    bool was_delayed = false;     // a call that was run before
    bool is_reactors = false;     // a worker must not wait for it, and gives it back to the reactor
    iocb control_block{};         // of kernel AIO
    std::int64_t result = 0;
    FileRef* file = nullptr;         // used by our threads instead of `fd`
    FileRef* second_file = nullptr;  // used by our threads instead of `second_fd`
    FileRef* signal_file = nullptr;  // used by our threads instead of `eventfd`
    int closing_fd = -1;             // to be closed by io_uring; -1: none
    bool closing_takes_long = false;
    // Of a read: the stream from which its bytes come. Its number may belong to another file when
    // the request is over. Not asked for if the submitting thread itself reads the stream: then the
    // bytes have reached the program.
    std::optional<StreamKey> source;
    bool may_be_given_back = false;  // its bytes, if it is cancelled while its file is being closed
    int poll_proxy = -1;             // an epoll(7) that io_uring polls in place of the file
};

// From its submission until reap() returns it, the engine and the kernel refer to the request and
// to all that it points to: the submitter must neither move nor free any of these.
struct Request : OperationData, RequestState {
    void* owner = nullptr;        // set by the submitter, to recognise the request when it is over
    Request* previous = nullptr;  // in one list of the engine's at a time
    Request* next = nullptr;
    Request* previous_posted = nullptr;  // in the list of posted cancellations
    Request* next_posted = nullptr;
    StreamPlace stream_place{};
    Worker* worker = nullptr;               // carries it out, and may be interrupted
    DeviceQueues* device_queues = nullptr;  // where it waits
    int device_place = -1;                  // among those of its device that are at work, or wait
    std::uint8_t turn = 0;                  // among those that wait for one device
    std::uint64_t path_device = 0;          // of a call, once a worker has found it; 0: not known
    PoolClient* client = nullptr;           // the engine that gave it to the worker pool
};

// Reads the flag atomically: a thread may cancel a request while another carries it out.
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
