// SPDX-License-Identifier: Apache-2.0
// Files that threads of ours use, held from the submission of a request until its end.
//
// How our threads refer to the program's files.
//
// When a thread of ours carries out a request, the program may have closed the number since the
// submission and given it to another file. So the submission itself takes a reference to the file,
// as the kernel does for kernel AIO. A duplicate of the number would be a reference, but:
//  - closing any number of a file drops the POSIX record locks that the process has on it
//    (fcntl_locking(2)), and so closing our duplicate would drop the program's;
//  - a child process inherits duplicates, and keeps pipes and sockets open with them;
//  - duplicates count against the program's limit, and programs that close all numbers close
//    duplicates, too.
// So our threads have a descriptor table of their own (close_range(2) with CLOSE_RANGE_UNSHARE),
// and files are sent there through a pair of sockets (SCM_RIGHTS of unix(7)). A file on its way is
// kept open by the sockets. Record locks belong to a descriptor table: our threads' has none.
//
// A new table begins with copies of the lowest numbers, 64 of them on 64-bit machines, and our
// threads close these copies. If to close one of them would flush a file, and the program could
// notice that (file_flush.hpp), or if the kernel or a sandbox refuses close_range(2), our threads
// have no table of their own: the files that they receive are duplicates in the program's table.
//
// No other process or code can take or forge the files that are sent. Our threads get a new pair of
// sockets each time they are started. The receiving end is closed in the program's table as soon as
// our threads have a table of their own. Each message must have this process as its sender, for
// which the kernel vouches (SCM_CREDENTIALS), a secret, and the expected number. All other messages
// are dropped together with their files, without receiving these: to close them might wait.
//
// All functions except the constructor and open_private_table() are called with the owner's lock
// held.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/clofork_fd.hpp"
#include "engine/file_return.hpp"
#include "engine/intrusive_list.hpp"
#include "engine/request.hpp"

namespace engine {

// A file of the program's that our threads use.
struct FileRef {
    int number = -1;    // in the program's table, when the file was sent
    int fd = -1;        // in our threads' table; -1 until the file has arrived
    int error = EBADF;  // if the file has not arrived: the errno that says why not
    unsigned users = 0;
    bool is_underway = false;
    bool is_counted = false;      // in `in_table_`
    std::uint64_t message = 0;    // the number of the message that carries the file
    FileRef* previous = nullptr;  // in the list of the files underway
    FileRef* next = nullptr;

    // `unknown` until it is first needed. `waiting`: a regular file of which a read may wait for
    // ever, as of /proc/kmsg and of trace_pipe of tracefs.
    enum class Kind : std::uint8_t { unknown, seekable, waiting, stream };
    Kind kind = Kind::unknown;

    // The device whose requests may hang together. Files without a device share one number.
    std::uint64_t device = 0;
    unsigned turn = 0;  // among the files that wait for one device; 0: never had to wait
    // `remote`: the kernel may have to ask a server. `unknown` until it is first needed.
    enum class Place : std::uint8_t { unknown, local, remote };
    Place place = Place::unknown;

    void* watch = nullptr;  // the EpollReactor::Watch of the file

    // Used only if our threads share the program's table. Owns our copy of a file whose close never
    // waits, such as an eventfd. A child process closes it, too.
    CloforkFd listed;

    // Another FileRef of the same file, which arrived earlier. Set when that is found out.
    FileRef* same_as = nullptr;
};

// Closes the descriptor of a file that nobody uses any more, and frees the FileRef.
void close_file_ref(FileRef* file) noexcept;

// The kind of an open file, never `unknown`. Does not wait.
FileRef::Kind kind_of(int fd) noexcept;

// Finds out the kind and the place of a file that has arrived, by one question to the kernel. Does
// not wait.
void learn_kind_and_place(FileRef& file) noexcept;

// Whether a file that has arrived is a stream. Does not wait.
bool is_stream(FileRef& file) noexcept;

// Whether a transfer may wait for ever: any transfer of a stream does, and a read of a file like
// /proc/kmsg.
bool may_be_endless(FileRef& file, Opcode opcode) noexcept;

// Whether the program's number is still the file's, in a thread that has our threads' table. False
// if the kernel does not tell.
bool is_still_open(const FileRef& file) noexcept;

class DescriptorTable {
public:
    DescriptorTable() noexcept;

    // False if the system refused the eventfd that wakes the I/O thread.
    bool is_open() const noexcept { return wake_.is_open(); }

    // Makes a new pair of sockets. Called before our threads start, when none of them runs. Returns
    // 0 or an errno.
    int open_sockets() noexcept;

    // Gives the calling thread a descriptor table of its own. Called in the first of our threads,
    // before it starts the others, which inherit the table. Does not wait. False if that is
    // impossible: then our threads use the program's table.
    bool open_private_table() noexcept;

    // Stores the result of open_private_table().
    void note_table(bool is_private) noexcept;

    // Closes the receiving end in the program's table. Called after note_table(), in a thread that
    // has the program's table.
    void hide_far_end() noexcept;

    // In each later thread of ours, which has inherited the first one's table: notes that for
    // CloforkFd, as open_private_table() did in the first.
    void share_private_table() const noexcept;

    // Called when the last thread with the private table has ended: the kernel has closed the table
    // and all files in it.
    void forget_private_table() noexcept;

    // Whether the next release() is the last, and the file has arrived.
    static bool is_last(const FileRef* file) noexcept { return file->users == 1 && file->fd >= 0; }

    // The number of the eventfd that wakes the I/O thread; it is the same in both tables. It may
    // change when our threads are started anew.
    const std::atomic<int>& wake_number() const noexcept { return wake_number_; }

    // Closes the sockets and the eventfd in the program's table, at the end or in a child process.
    // Threads with a table of their own keep their copies.
    void close() noexcept;

    // Called in a thread of the program: takes references to the files and eventfds of requests,
    // and sends them to our threads. Returns for how many requests, from the front; `error` says
    // why not for the next: EAGAIN if our threads have to receive() first.
    std::size_t hold(std::span<Request* const> requests, int& error) noexcept;

    // Whether the request's `fd` (or `second_fd`) is a file that hold() has to send. A call may
    // have no file, or may be for a thread that has the program's table.
    static bool has_first_file(const Request& request) noexcept;
    static bool has_second_file(const Request& request) noexcept;

    // Called in a thread of the program: makes the FileReturn by which files that our threads open
    // reach the program.
    void open_return() noexcept;

    // That FileReturn; null if there was no memory or no number for it.
    const std::shared_ptr<FileReturn>& returns() const noexcept { return returns_; }

    // Whether our threads have a table of their own.
    bool is_private() const noexcept { return is_private_; }

    // Called in one of our threads: receives the files that were sent, as far as the table has
    // room.
    void receive() noexcept;

    // Count the released files that io_uring has yet to close: they take room in the table.
    void note_closing() noexcept { ++closing_; }
    void note_closed() noexcept { --closing_; }

    // Whether files that were sent wait for room in our threads' table.
    bool is_table_full() const noexcept { return is_table_full_; }

    // Called in one of our threads: whether each of the request's files has arrived, or never will.
    // Replaces a FileRef by the one in its `same_as`.
    bool has_files(Request& request) noexcept;

    static bool is_underway(const FileRef* file) noexcept {
        return file != nullptr && file->is_underway;
    }

    // Counts one user less, of the one in `same_as` where there is one, which replaces `file`. True
    // if that was the last: the caller then has to close the file and delete the FileRef. False for
    // a file underway: receive() deletes that one.
    bool release(FileRef*& file) noexcept;

private:
    static constexpr std::size_t most_files = 64;    // in one message
    static constexpr std::size_t spare_numbers = 3;  // of our threads' table

    // The files of the requests whose files go into one message.
    struct Parcel {
        std::array<int, most_files> numbers;
        std::array<FileRef*, most_files> files;
        std::size_t count = 0;  // of the files that the message carries
        // The last file, eventfd and second file that need not be sent again.
        std::array<FileRef*, 3> recent{};
    };

    std::size_t hold_in_one_message(std::span<Request* const> requests, int& error) noexcept;
    std::size_t hold_in_two_messages(std::span<Request* const> requests, int& error) noexcept;
    int hold(Parcel& parcel, Request& request) noexcept;
    int hold(Parcel& parcel, int number, std::size_t place, FileRef*& file) noexcept;
    void release_files(Request& request) noexcept;
    void forget_underway() noexcept;
    FileRef* find_recent(int number, FileRef*& last) const noexcept;
    bool is_crowded() const noexcept;
    int wait_for_receiver() noexcept;
    int send(const Parcel& parcel) noexcept;

    // The contents of a message, beside its files.
    struct Seal {
        std::uint64_t secret = 0;
        std::uint64_t number = 0;
    };
    struct Arrivals {
        std::array<int, most_files> fds;
        std::size_t count = 0;
    };
    enum class NextMessage : std::uint8_t { none, strangers, ours };

    NextMessage look_at_next(std::uint64_t& number) noexcept;
    bool is_ours(const msghdr& message, const Seal& seal) const noexcept;
    bool has_room_for(std::uint64_t number) const noexcept;
    bool has_free_numbers(std::size_t count) const noexcept;
    bool take_next(Arrivals& arrivals) noexcept;
    void drop_next() noexcept;
    FileRef* next_underway() noexcept;
    void arrive(FileRef* file, int fd) noexcept;
    void accept(std::uint64_t number, const Arrivals& arrivals) noexcept;
    bool receive_listed(std::uint64_t number, Arrivals& arrivals) noexcept;
    static bool is_copy(const FileRef* file, int fd) noexcept;
    void replace(FileRef*& file) noexcept;

    CloforkFd near_end_;
    CloforkFd far_end_;
    CloforkFd wake_;
    std::atomic<int> wake_number_ = -1;
    int far_number_ = -1;  // the number of the receiving end in our threads' table
    std::shared_ptr<FileReturn> returns_;
    bool is_private_ = false;
    pid_t process_ = 0;      // the only sender whose messages are accepted
    pid_t far_thread_ = 0;   // a thread that has the table
    int receive_error_ = 0;  // the errno for which nothing can be received; 0: none
    bool is_full_ = false;   // the receiving end is full, perhaps of others' messages
    bool is_table_full_ = false;
    std::uint64_t secret_ = 0;
    std::uint64_t sent_ = 0;    // messages
    std::size_t held_ = 0;      // FileRefs that there are
    std::size_t in_table_ = 0;  // of these, the ones in our threads' table
    std::size_t closing_ = 0;   // released files that io_uring has yet to close in that table

    IntrusiveList<FileRef, &FileRef::previous, &FileRef::next> underway_;
    std::size_t underway_count_ = 0;

    // The last FileRef of a number: while it is held, the file need not be sent again.
    std::array<FileRef*, 1024> recent_{};
};

}  // namespace engine
