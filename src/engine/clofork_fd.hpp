// SPDX-License-Identifier: Apache-2.0
// File descriptors that no child process gets, as with FD_CLOFORK of POSIX.1-2024, which Linux does
// not have.
//
// Close-on-exec does not help against a child that runs on without execve(2): it could read, write
// and empty the sockets and eventfds by which our threads talk. So these descriptors are in a list.
// In a child, a handler of pthread_atfork(3) closes them before fork(2) returns. It also clears the
// objects that own them, so that none of these later closes a number that the child has given to
// another file. A raw fork system call and _Fork(3) run no handlers.
//
// The list has descriptors of the program's table only. A thread with a table of its own
// (use_own_table()) adds nothing to the list: no fork copies its table.
#pragma once

namespace engine {

// As long as a ForkBarrier exists, no fork(2) begins in this process. So no fork comes between two
// steps, such as to open a descriptor and to list it, or to map memory and to exclude it from
// children. Hold it only for a few system calls that don't wait, and don't nest it.
class ForkBarrier {
public:
    ForkBarrier() noexcept;
    ForkBarrier(const ForkBarrier&) = delete;
    ForkBarrier& operator=(const ForkBarrier&) = delete;
    ~ForkBarrier();
};

// Owns a descriptor: closes it in the destructor, and in each child process. A thread that holds a
// ForkBarrier may call only the functions that take it as an argument: the others wait for it.
class CloforkFd {
public:
    CloforkFd() = default;
    CloforkFd(CloforkFd&& other) noexcept;
    CloforkFd& operator=(CloforkFd&& other) noexcept;
    ~CloforkFd() { reset(); }

    // Takes over a descriptor that was opened under the barrier; -1: none. The object must not own
    // one before.
    void adopt(int fd, const ForkBarrier& barrier) noexcept;

    // Gives up the descriptor without closing it: the caller owns it.
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

// Makes an eventfd(2). On failure the result is not open, and errno is set.
CloforkFd make_clofork_eventfd(int flags) noexcept;

}  // namespace engine
