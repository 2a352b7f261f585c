// SPDX-License-Identifier: Apache-2.0
// File descriptors that no child process gets: what FD_CLOFORK of POSIX.1-2024 does, which Linux
// does not have.
//
// Close-on-exec does not help against a child that runs on without execve(2): it could read, write
// and empty the sockets and eventfds by which our threads talk. So these descriptors are listed. In
// a child, a handler of pthread_atfork(3) closes the listed ones before fork(2) returns, and clears
// their owners, so that nothing later closes a number that the child has given to something else.
// A raw fork system call and _Fork(3) run no handlers.
//
// The list is of the program's table of descriptors. A thread with a table of its own
// (use_own_table()) lists nothing: no fork copies its table.
#pragma once

namespace engine {

// While there is one, no fork(2) begins in this process: a descriptor that is opened and listed, or
// memory that is mapped and excluded from children, is so in one step. For a few system calls that
// don't wait. Not to be nested.
class ForkBarrier {
public:
    ForkBarrier() noexcept;
    ForkBarrier(const ForkBarrier&) = delete;
    ForkBarrier& operator=(const ForkBarrier&) = delete;
    ~ForkBarrier();
};

// A descriptor that is closed with this object, and in a child process. A thread that holds a
// ForkBarrier may call only the functions that take it as an argument: the others wait for it.
class CloforkFd {
public:
    CloforkFd() = default;
    CloforkFd(CloforkFd&& other) noexcept;
    CloforkFd& operator=(CloforkFd&& other) noexcept;
    ~CloforkFd() { reset(); }

    // Takes over a descriptor that was opened under the barrier; -1 stays none. There must be none
    // before.
    void adopt(int fd, const ForkBarrier& barrier) noexcept;

    // For who closes it under the barrier.
    int release(const ForkBarrier& barrier) noexcept;

    void reset() noexcept;

    int get() const noexcept { return fd_; }
    bool is_open() const noexcept { return fd_ >= 0; }

    // The calling thread has a descriptor table of its own from now on.
    static void use_own_table() noexcept;
    static bool has_own_table() noexcept;

private:
    friend struct CloforkList;

    void take(CloforkFd& other) noexcept;

    int fd_ = -1;
    CloforkFd* previous_ = nullptr;
    CloforkFd* next_ = nullptr;
};

// An eventfd(2); not open, with errno set, if there is none to be had.
CloforkFd make_clofork_eventfd(int flags) noexcept;

}  // namespace engine
