// SPDX-License-Identifier: Apache-2.0
// openat(2).
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <chrono>

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
    void look_for_room() noexcept override;
    std::int64_t run(const CallFiles& files) noexcept override;
    void abandon() noexcept override {
        fifo_ = {};
        opened_ = {};
    }

    // Called after the call's success, in a thread of the program: returns the file's number, which
    // the caller then owns, or a negative errno.
    int take() noexcept;

    // The description of the file, if the constructor was told to describe it.
    const FileDescription& description() const noexcept { return description_; }

    // For this and other calls, before they open a file: whether the call has to be run again
    // later, because the program is slow to take the files that were opened before.
    bool has_to_wait(const CallFiles& files) noexcept;

    // For another call, which has opened the file `fd` itself: makes take() return it. Called in
    // the thread that runs that call. `not_yet`: it is kept, and run() has to go on with it.
    std::int64_t hand_out(int fd, const CallFiles& files) noexcept;
    bool keeps_opened() const noexcept { return opened_.is_open(); }

private:
    using Clock = std::chrono::steady_clock;

    bool has_patience() noexcept;
    bool may_wait_for_a_partner() const noexcept;
    int open_fifo(int found) noexcept;
    std::int64_t describe_and_hand_out(int fd, const CallFiles& files) noexcept;

    const int dir_fd_;
    const char* const path_;
    const int flags_;
    const mode_t mode_;
    const bool describes_;
    FileDescription description_;

    // Of a FIFO that is opened for reading while it has no writer: the reading side, open in the
    // table of the threads that run the call. It stays open so that writers find a reader.
    UniqueFd fifo_;
    // The opened file, in the same table, while the socket to the program has no room for it.
    UniqueFd opened_;
    Clock::time_point gives_up_at_;  // when the wait for the program lasts too long
    int room_error_ = 0;             // of look_for_room()
    bool is_taken_ = false;
    int number_ = -1;  // in the program's table; -1: `returns_` and `ticket_` tell how to get it
    std::shared_ptr<FileReturn> returns_;
    FileReturn::Ticket ticket_ = 0;
};

}  // namespace engine
