// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/open.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "engine/clofork_fd.hpp"
#include "engine/local_mounts.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/program_threads.hpp"

namespace engine {
namespace {

// A path that opens an open file once more: /proc/thread-self/fd/N. Not /proc/self/fd, which shows
// the program's table of descriptors, not that of our threads.
class LinkOfNumber {
public:
    explicit LinkOfNumber(int fd) noexcept {
        std::snprintf(name_.data(), name_.size(), "/proc/thread-self/fd/%d", fd);
    }
    const char* name() const noexcept { return name_.data(); }

private:
    std::array<char, 40> name_;
};

// Whether a FIFO that is open for reading has, or had since, a writer.
bool has_writer(int fd) noexcept {
    pollfd look{.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&look, 1, 0) > 0) {
        return true;
    }
    // An empty FIFO is at its end only if nobody has it open for writing.
    std::array<int, 2> pipe{-1, -1};
    if (pipe2(pipe.data(), O_CLOEXEC) != 0) {
        return false;
    }
    const UniqueFd reader(pipe[0]);
    const UniqueFd writer(pipe[1]);
    return tee(fd, writer.get(), 1, SPLICE_F_NONBLOCK) != 0;
}

// How long a file waits for a program that takes none of those that were sent before it. It may be
// busy; but it may also wait for this one.
constexpr std::chrono::seconds patience{60};

// Clears O_NONBLOCK of a file that was opened with these flags and O_NONBLOCK.
bool clear_nonblock(int fd, int flags) noexcept { return fcntl(fd, F_SETFL, flags) == 0; }

}  // namespace

OpenCall::~OpenCall() {
    if (!is_taken_) {
        if (const int fd = take(); fd >= 0) {
            close_soon(fd);
        }
    }
}

// Opens only a regular file on a local mount: to open a FIFO, a device or a file of a server may
// wait. After a failure, a thread that may wait tries again, to find out why.
std::optional<std::int64_t> OpenCall::try_at_once() noexcept {
    constexpr int harmless = O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NOATIME | O_DIRECT | O_LARGEFILE;
    static_assert(O_RDONLY == 0);
    if ((flags_ & ~harmless) != 0) {
        return std::nullopt;
    }
    const auto found = find_cached(dir_fd_, path_, (flags_ & O_NOFOLLOW) == 0);
    if (found.error != 0) {
        return -found.error;
    }
    auto opened = open_cached(found, dir_fd_, path_, flags_);
    if (!opened.is_open() || !clear_nonblock(opened.get(), flags_)) {
        return std::nullopt;
    }
    number_ = opened.release();
    description_ = {.mode = found.status.stx_mode,
                    .size = static_cast<std::int64_t>(found.status.stx_size),
                    .is_local = true};
    return 0;
}

bool OpenCall::may_wait_for_a_partner() const noexcept {
    return (flags_ & (O_NONBLOCK | O_PATH | O_DIRECTORY)) == 0 && (flags_ & O_ACCMODE) != O_RDWR &&
           (flags_ & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

// The kernel's open(2) takes a number before it makes or empties a file. A worker with a table of
// its own would find that the program has none left when it is too late. The number is not kept
// meanwhile: many opens at a time would take numbers that only a few of them need at once.
void OpenCall::look_for_room() noexcept {
    if ((flags_ & (O_CREAT | O_TRUNC)) != 0) {
        const auto number = make_clofork_eventfd(EFD_CLOEXEC);
        room_error_ = number.is_open() ? 0 : errno;
    }
}

std::int64_t OpenCall::run(const CallFiles& files) noexcept {
    if (opened_.is_open()) {
        return hand_out(opened_.release(), files);
    }
    if (room_error_ != 0) {
        return -room_error_;
    }
    if (has_to_wait(files)) {
        return not_yet;
    }
    if (fifo_.is_open()) {
        return has_writer(fifo_.get()) ? describe_and_hand_out(fifo_.release(), files) : not_yet;
    }
    UniqueFd found;
    struct statx status{};
    if (may_wait_for_a_partner()) {
        found = open_uninterrupted(
            [&] { return openat(files.first, path_, O_PATH | O_CLOEXEC | (flags_ & O_NOFOLLOW)); });
        constexpr unsigned mask = STATX_TYPE | LocalMounts::mask;
        if (found.is_open() && statx(found.get(), "", AT_EMPTY_PATH, mask, &status) == 0) {
            LocalMounts::learn(found.get(), status);
            if (S_ISFIFO(status.stx_mode)) {
                const int fd = open_fifo(found.get());
                if (fd < 0) {
                    return errno == EAGAIN ? not_yet : -errno;
                }
                return describe_and_hand_out(fd, files);
            }
        }
    }
    const auto fd = call_uninterrupted([&] { return openat(files.first, path_, flags_, mode_); });
    return fd < 0 ? fd : describe_and_hand_out(static_cast<int>(fd), files);
}

// Opens a FIFO without waiting for the other side: -1 with EAGAIN if that is not open yet.
int OpenCall::open_fifo(int found) noexcept {
    const LinkOfNumber link(found);
    UniqueFd opened(::open(link.name(), (flags_ & ~(O_NOFOLLOW | O_CREAT)) | O_NONBLOCK));
    if (!opened.is_open()) {
        errno = errno == ENXIO ? EAGAIN : errno;
        return -1;
    }
    if (!clear_nonblock(opened.get(), flags_)) {
        return -1;
    }
    if ((flags_ & O_ACCMODE) == O_RDONLY && !has_writer(opened.get())) {
        fifo_ = std::move(opened);
        errno = EAGAIN;
        return -1;
    }
    return opened.release();
}

std::int64_t OpenCall::describe_and_hand_out(int fd, const CallFiles& files) noexcept {
    if (describes_) {
        if (const auto result = describe(fd, description_); result != 0) {
            ::close(fd);
            return result;
        }
    }
    return hand_out(fd, files);
}

bool OpenCall::has_patience() noexcept {
    const auto now = Clock::now();
    if (gives_up_at_ == Clock::time_point()) {
        gives_up_at_ = now + patience;
    }
    return now < gives_up_at_;
}

bool OpenCall::has_to_wait(const CallFiles& files) noexcept {
    return files.is_private && files.returns != nullptr && files.returns->is_crowded() &&
           has_patience();
}

std::int64_t OpenCall::hand_out(int fd, const CallFiles& files) noexcept {
    if (!files.is_private) {
        number_ = fd;
        return 0;
    }
    const int error = files.returns != nullptr ? files.returns->send(fd, ticket_) : EMFILE;
    if (error == EAGAIN && has_patience()) {  // until the program takes files that were sent before
        opened_ = UniqueFd(fd);
        return not_yet;
    }
    ::close(fd);
    if (error == 0) {
        returns_ = files.returns;
    }
    return -error;
}

int OpenCall::take() noexcept {
    is_taken_ = true;
    if (number_ >= 0) {
        return std::exchange(number_, -1);
    }
    return returns_ != nullptr ? std::exchange(returns_, nullptr)->receive(ticket_) : -EBADF;
}

}  // namespace engine
