// SPDX-License-Identifier: Apache-2.0
// Brings files that our threads opened into the program's descriptor table.
//
// Our threads have a table of their own (descriptor_table.hpp). They send an opened file through a
// socket, and a thread of the program receives it at the moment when it returns its number to the
// program. So a file whose number nobody asks for never has one that a child process could inherit.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/clofork_fd.hpp"
#include "engine/fork_guard.hpp"

namespace engine {

class FileReturn {
public:
    // `far_number`: the number, in our threads' table, of the socket that they send files to.
    explicit FileReturn(int far_number) noexcept;
    FileReturn(const FileReturn&) = delete;
    FileReturn& operator=(const FileReturn&) = delete;
    ~FileReturn();

    // The program's end of the socket.
    void adopt(int near_end, const ForkBarrier& barrier) noexcept {
        near_end_.adopt(near_end, barrier);
    }
    bool is_open() const noexcept { return near_end_.is_open(); }

    // Identifies one file underway. It can't be guessed by others.
    using Ticket = std::uint64_t;

    // Called in one of our threads: sends the file `fd`, which stays open there. Returns 0 or an
    // errno: EAGAIN if there is no room until the program receives files that were sent before.
    int send(int fd, Ticket& ticket) noexcept;

    // Called in one of our threads: whether so many files are underway that an open has to wait
    // until the program has received some. They use up what its limit of open files allows: numbers
    // of our threads, and descriptors that a user without privileges may have in sockets
    // (ETOOMANYREFS in unix(7)), of which requests need some.
    bool is_crowded() const noexcept;

    // Called in a thread of the program: receives the file. Returns its number, or a negative
    // errno.
    int receive(Ticket ticket) noexcept;

private:
    struct Arrived {
        Ticket ticket = 0;
        CloforkFd file;
    };

    CloforkFd near_end_;
    const int far_number_;
    ForkGuard fork_guard_;
    std::atomic<Ticket> last_ticket_ = 0;
    std::atomic<std::size_t> underway_ = 0;  // sent, and not yet received

    std::mutex mutex_;
    std::vector<Arrived> arrived_;  // received while another file was awaited
};

}  // namespace engine
