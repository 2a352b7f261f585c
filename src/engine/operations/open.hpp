// SPDX-License-Identifier: Apache-2.0
// openat(2).
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include "engine/call.hpp"
#include "engine/file_return.hpp"
#include "engine/operations/describe.hpp"
#include "engine/unique_fd.hpp"

namespace engine {

// The request's fd is the directory that a relative path starts from.
class OpenCall final : public Call {
public:
    OpenCall(int dir_fd, const char* path, int flags, mode_t mode, bool describes = false) noexcept
        : dir_fd_(dir_fd),
          path_(path),
          flags_(flags | O_CLOEXEC),
          mode_(mode),
          describes_(describes) {}
    ~OpenCall() override;  // closes a file that nobody took

    Paths paths() const noexcept override { return {.first = path_}; }
    std::optional<std::int64_t> try_at_once() noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;
    void abandon() noexcept override { fifo_ = {}; }

    // After its success, in the program's thread: the file's number, now the caller's, or a
    // negative errno.
    int take() noexcept;

    // What is open, if it was to be described.
    const FileDescription& description() const noexcept { return description_; }

    // For a call that opens a file otherwise: it is to be taken. In the thread that runs the call.
    std::int64_t hand_out(int fd, const CallFiles& files) noexcept;

private:
    bool may_wait_for_a_partner() const noexcept;
    int open_fifo(int found) noexcept;
    std::int64_t describe_and_hand_out(int fd, const CallFiles& files) noexcept;

    const int dir_fd_;
    const char* const path_;
    const int flags_;
    const mode_t mode_;
    const bool describes_;
    FileDescription description_;

    // Of a FIFO whose other side is not there yet: the reading side, as a reader that waits is
    // there for writers. In the table of the threads that run the call.
    UniqueFd fifo_;
    bool is_taken_ = false;
    int number_ = -1;  // in the program's table; or the file is underway there:
    std::shared_ptr<FileReturn> returns_;
    FileReturn::Ticket ticket_ = 0;
};

}  // namespace engine
