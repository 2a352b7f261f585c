// SPDX-License-Identifier: Apache-2.0
// Files that threads of ours use, held from the submission of a request until its end.
//
// A thread of ours comes to a request after its submission, when the program may have closed the
// number and given it to another file. So the file is referred to at submission, as the kernel does
// for its own. A duplicate of the number would do so, but:
//  - closing any number of a file drops the POSIX record locks that the process has on it
//    (fcntl_locking(2)), and so closing our duplicate would drop the program's;
//  - a child process inherits duplicates, and keeps pipes and sockets open with them;
//  - they count against the program's limit, and programs that close all numbers close them too.
// So our threads have a table of descriptors of their own (close_range(2) with
// CLOSE_RANGE_UNSHARE), and files are sent there through a pair of sockets (SCM_RIGHTS of unix(7));
// in between, the sockets refer to them. Locks belong to a table: ours has none.
//
// A new table begins with copies of the lowest numbers, 64 of them on 64-bit machines, which are
// closed. If one of these files has a flush that the program could notice (file_flush.hpp), or the
// kernel or a sandbox has no such call, our threads do without a table of their own, and what they
// receive is duplicates in the program's.
//
// Nobody else can take or forge what is sent. Each start of our threads has a new pair of sockets;
// the receiving end is closed in the program's table once our threads have theirs; and each message
// has to have this process as its sender, for which the kernel vouches (SCM_CREDENTIALS), and a
// secret, and its number. All others are dropped, their files with them, without being received:
// to close such a file might wait.
//
// All but the constructor and open_private_table() is called with the owner's lock held.
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
#include "engine/request.hpp"

namespace engine {

struct FileRef {
    int number = -1;    // in the program's table, when it was sent
    int fd = -1;        // in our threads' table; -1 until it has arrived
    int error = EBADF;  // for which it can't be used where it has not arrived
    unsigned users = 0;
    bool is_underway = false;
    bool is_counted = false;    // as one in our threads' table
    std::uint64_t message = 0;  // the number of the one that carries it
    FileRef* next = nullptr;    // of those on their way

    // Known once somebody asked.
    // `proc`: it can be sought in, and a read may wait for ever all the same, as of /proc/kmsg.
    enum class Kind : std::uint8_t { unknown, seekable, proc, stream };
    Kind kind = Kind::unknown;

    // What may hang together with it: its device; or, if it has none, all others that have none.
    std::uint64_t device = 0;
    unsigned turn = 0;  // among those that wait for one device; 0: it never had to
    // Whether the kernel has to ask somebody for it, as a server; known once somebody asked.
    enum class Place : std::uint8_t { unknown, local, remote };
    Place place = Place::unknown;

    void* watch = nullptr;  // an epoll reactor's

    // In the program's table: what is closed at once, as eventfds, is kept from child processes.
    CloforkFd listed;

    // Set once it has turned out to be a file that has arrived before.
    FileRef* same_as = nullptr;
};

// Also what it has open. Nobody uses it any more.
void close_file_ref(FileRef* file) noexcept;

// Never `unknown`. Neither waits.
FileRef::Kind kind_of(int fd) noexcept;
FileRef::Place place_of(int fd) noexcept;

// Of a file that has arrived. Does not wait.
bool is_stream(FileRef& file) noexcept;

// Whether a transfer may wait for ever: of a stream, or a read of a file like /proc/kmsg.
bool may_be_endless(FileRef& file, Opcode opcode) noexcept;

class DescriptorTable {
public:
    DescriptorTable() noexcept;

    // False if the system refused what is needed.
    bool is_open() const noexcept { return wake_.is_open(); }

    // Before our threads start, when none are there: new sockets. Returns 0 or an errno.
    int open_sockets() noexcept;

    // For the first of our threads, before all others, which inherit its table from it. Waits for
    // nobody. False if there is none to be had, and the program's has to do.
    bool open_private_table() noexcept;

    // What came of it.
    void note_table(bool is_private) noexcept;

    // From then on, in a thread that has the program's table: closes the receiving end there.
    void hide_far_end() noexcept;

    // In each later thread of ours, which has inherited the first one's table: notes that for
    // CloforkFd, as open_private_table() did in the first.
    void share_private_table() const noexcept;

    // When there are no threads left that have the table: it is gone, with all that is in it.
    void forget_private_table() noexcept;

    // Whether the next release() is the last, and the file has arrived.
    static bool is_last(const FileRef* file) noexcept { return file->users == 1 && file->fd >= 0; }

    // Readable once somebody has written to it: the same number in both tables. Of the threads that
    // run now: another one once they were started anew.
    const std::atomic<int>& wake_number() const noexcept { return wake_number_; }

    // For the end, or in a child process: closes the program's numbers. Threads of ours that have a
    // table of their own keep theirs.
    void close() noexcept;

    // From any other thread: takes hold of the files and eventfds of requests. Returns how many of
    // them, from the front; `error` tells why no more: EAGAIN if our threads are to receive()
    // first.
    std::size_t hold(std::span<Request* const> requests, int& error) noexcept;

    // Which of the request's numbers are files to be held: a call may have none, or name numbers
    // for a thread that has the program's table.
    static bool has_first_file(const Request& request) noexcept;
    static bool has_second_file(const Request& request) noexcept;

    // From any other thread: makes the way by which files that our threads open reach the program.
    void open_return() noexcept;

    // That way; null if there is none for lack of memory or numbers.
    const std::shared_ptr<FileReturn>& returns() const noexcept { return returns_; }

    // Whether our threads have a table of their own.
    bool is_private() const noexcept { return is_private_; }

    // In one of our threads: takes over what has been sent, as far as there is room for it.
    void receive() noexcept;

    // A released file that io_uring closes later takes room in the table until it is closed.
    void note_closing() noexcept { ++closing_; }
    void note_closed() noexcept { --closing_; }

    // Whether what has been sent waits for room in our threads' table.
    bool is_table_full() const noexcept { return is_table_full_; }

    // In one of our threads: whether the request's files have arrived, or will never. Files that
    // have turned out to be others that were there are replaced by those.
    bool settle(Request& request) noexcept;

    // One user less. True if it was the last, and then it is the caller's, to be closed and
    // deleted. What is still on its way, since our threads could not receive it, is left to
    // receive().
    bool release(FileRef* file) noexcept;

private:
    static constexpr std::size_t most_files = 64;  // in one message

    // The files of the requests that go with one message: those that it carries first.
    struct Parcel {
        std::array<int, most_files> numbers;
        std::array<FileRef*, most_files> files;
        std::size_t count = 0;  // of those carried
        // The last file, eventfd and second file that need not be carried.
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

    // What a message says.
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
    int far_number_ = -1;  // of the receiving end, in our threads' table
    std::shared_ptr<FileReturn> returns_;
    bool is_private_ = false;
    pid_t process_ = 0;      // which is the sender
    pid_t far_thread_ = 0;   // one that has the table
    int receive_error_ = 0;  // for which nothing can be received
    bool is_full_ = false;   // the receiving end: it may be others' messages
    bool is_table_full_ = false;
    std::uint64_t secret_ = 0;
    std::uint64_t sent_ = 0;    // messages
    std::size_t held_ = 0;      // how many there are
    std::size_t in_table_ = 0;  // of those, in our threads' table
    std::size_t closing_ = 0;   // released, and still in that table until they are closed

    FileRef* first_underway_ = nullptr;
    FileRef* last_underway_ = nullptr;

    // The last that was held of a number: while it is, it need not be sent again.
    std::array<FileRef*, 64> recent_{};
};

}  // namespace engine
