// SPDX-License-Identifier: Apache-2.0
// How files that threads of ours opened reach the program's table of descriptors.
//
// Our threads have a table of their own (descriptor_table.hpp). They send an opened file through a
// socket, and the program's thread receives it in the step that returns its number: a file that
// nobody takes never has a number that a child process could inherit.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/clofork_fd.hpp"
#include "engine/fork_guard.hpp"

namespace engine {

class FileReturn {
public:
    // `far_number`: the number in our threads' table of the socket's end that they send to.
    explicit FileReturn(int far_number) noexcept;
    FileReturn(const FileReturn&) = delete;
    FileReturn& operator=(const FileReturn&) = delete;
    ~FileReturn();

    // The program's end of the socket.
    void adopt(int near_end, const ForkBarrier& barrier) noexcept {
        near_end_.adopt(near_end, barrier);
    }
    bool is_open() const noexcept { return near_end_.is_open(); }

    // What names one file underway: strangers can't guess it.
    using Ticket = std::uint64_t;

    // In one of our threads: sends its file `fd`, which stays open. Returns 0 or an errno.
    int send(int fd, Ticket& ticket) noexcept;

    // In a thread of the program's: the number of the file, or a negative errno.
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

    std::mutex mutex_;
    std::vector<Arrived> arrived_;  // before those that they were sent after
};

}  // namespace engine
