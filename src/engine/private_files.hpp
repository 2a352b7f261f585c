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
// CLOSE_RANGE_UNSHARE), and files are sent there through a socket (SCM_RIGHTS of unix(7)); in
// between, the socket refers to them. Locks belong to a table: ours has none. Where the kernel or a
// sandbox has no such call, duplicates have to do.
//
// All but the constructor and open_private_table() is called with the owner's lock held.
#pragma once

#include <sys/types.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/clofork_fd.hpp"
#include "engine/request.hpp"

namespace engine {

struct HeldFile {
    int number = -1;    // in the program's table, when it was sent
    int fd = -1;        // in our threads' table; -1 until it has arrived
    int error = EBADF;  // for which it can't be used where it has not arrived
    unsigned users = 0;
    bool is_underway = false;
    HeldFile* next = nullptr;  // of those on their way

    // Known once somebody asked.
    enum class Kind : std::uint8_t { unknown, seekable, stream };
    Kind kind = Kind::unknown;

    void* watch = nullptr;  // an epoll reactor's
};

// Also what it has open. Nobody uses it any more.
void close_held(HeldFile* file) noexcept;

// Never `unknown`. Does not wait.
HeldFile::Kind kind_of(int fd) noexcept;

class PrivateFiles {
public:
    PrivateFiles() noexcept;

    // False if the system refused what is needed.
    bool is_open() const noexcept { return near_end_.is_open() && wake_.is_open(); }

    // For the first of our threads, before all others, which inherit its table from it.
    void open_private_table() noexcept;

    // When there are no threads left that have the table: it is gone, with all that is in it.
    void forget_private_table() noexcept;

    // Whether the next release() is the last, and the file has arrived.
    static bool is_last(const HeldFile* file) noexcept { return file->users == 1 && file->fd >= 0; }

    // Readable once somebody has written to it: the same number in both tables.
    int wake_number() const noexcept { return wake_.get(); }

    // For the end, or in a child process: closes the program's numbers.
    void close() noexcept;

    // From any other thread: takes hold of the files and eventfds of requests. Returns how many of
    // them, from the front; `error` tells why no more: EAGAIN if our threads are to receive()
    // first.
    std::size_t hold(std::span<Request* const> requests, int& error) noexcept;

    // In one of our threads: takes over what has been sent.
    void receive() noexcept;

    // One user less. True if it was the last, and then it is the caller's, to be closed and
    // deleted. What is still on its way, since our threads could not receive it, is left to
    // receive().
    bool release(HeldFile* file) noexcept;

private:
    static constexpr std::size_t most_files = 64;  // in one message

    // The files of the requests that go with one message: those that it carries first.
    struct Parcel {
        std::array<int, most_files> numbers;
        std::array<HeldFile*, most_files> files;
        std::size_t count = 0;  // of those carried
        // The last file, and the last eventfd, that need not be carried.
        std::array<HeldFile*, 2> recent{};
    };

    std::size_t hold_in_one_message(std::span<Request* const> requests, int& error) noexcept;
    std::size_t hold_in_two_messages(std::span<Request* const> requests, int& error) noexcept;
    int hold(Parcel& parcel, Request& request) noexcept;
    int hold(Parcel& parcel, int number, std::size_t place, HeldFile*& file) noexcept;
    void let_go(Request& request) noexcept;
    HeldFile* find_recent(int number, HeldFile*& last) const noexcept;
    bool is_crowded() const noexcept;
    int wait_for_receiver() noexcept;
    int send(const Parcel& parcel) noexcept;
    static int duplicate(const Parcel& parcel) noexcept;
    HeldFile* next_underway() noexcept;
    void arrive(HeldFile* file, int fd) noexcept;

    CloforkFd near_end_;
    CloforkFd far_end_;
    CloforkFd wake_;
    bool is_private_ = false;
    pid_t far_thread_ = 0;   // one that has the table
    int receive_error_ = 0;  // for which nothing can be received
    std::size_t held_ = 0;   // how many there are

    HeldFile* first_underway_ = nullptr;
    HeldFile* last_underway_ = nullptr;

    // The last that was held of a number: while it is, it need not be sent again.
    std::array<HeldFile*, 64> recent_{};
};

}  // namespace engine
