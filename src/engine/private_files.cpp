// SPDX-License-Identifier: Apache-2.0
#include "engine/private_files.hpp"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>
#include <utility>

#include "engine/eventfd_check.hpp"
#include "engine/file_type.hpp"

namespace engine {
namespace {

// <linux/close_range.h>'s, which is younger than some systems' headers.
constexpr unsigned close_range_unshare = 1U << 1U;

int close_numbers(int first, int last, unsigned flags) noexcept {
#ifdef __NR_close_range
    return static_cast<int>(syscall(__NR_close_range, first, last, flags));
#else
    errno = ENOSYS;
    return -1;
#endif
}

pid_t this_thread() noexcept { return static_cast<pid_t>(syscall(__NR_gettid)); }

bool are_same_file(pid_t left_thread, int left, pid_t right_thread, int right) noexcept {
    return syscall(__NR_kcmp, left_thread, right_thread, KCMP_FILE, left, right) == 0;
}

}  // namespace

void close_held(HeldFile* file) noexcept {
    if (file->fd >= 0) {
        ::close(file->fd);
    }
    delete file;
}

HeldFile::Kind kind_of(int fd) noexcept {
    return is_stream(fd) ? HeldFile::Kind::stream : HeldFile::Kind::seekable;
}

PrivateFiles::PrivateFiles() noexcept {
    const ForkBarrier barrier;
    int ends[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0) {
        near_end_.adopt(ends[0], barrier);
        far_end_.adopt(ends[1], barrier);
    }
    wake_.adopt(eventfd(0, EFD_CLOEXEC), barrier);
}

void PrivateFiles::close() noexcept {
    while (first_underway_ != nullptr) {
        if (auto* file = next_underway(); file->users == 0) {
            delete file;
        }
    }
    near_end_.reset();
    far_end_.reset();
    wake_.reset();
}

void PrivateFiles::open_private_table() noexcept {
    far_thread_ = this_thread();
    is_private_ = false;
    const auto [low, high] = std::minmax({far_end_.get(), wake_.get()});
    // The first of these copies the part of the table up to `high`, and leaves the program's alone.
    if (low <= STDERR_FILENO || close_numbers(high + 1, INT_MAX, close_range_unshare) != 0) {
        return;
    }
    if (low + 1 < high) {
        close_numbers(low + 1, high - 1, 0);
    }
    close_numbers(0, low - 1, 0);
    // What anybody prints in our threads must not land in somebody's file.
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        dup2(low, standard);
    }
    is_private_ = true;
    CloforkFd::use_own_table();
}

void PrivateFiles::forget_private_table() noexcept {
    is_private_ = false;
    far_thread_ = 0;
}

std::size_t PrivateFiles::hold(std::span<Request* const> requests, int& error) noexcept {
    std::size_t taken = 0;
    error = 0;
    while (taken < requests.size() && error == 0) {
        taken += hold_in_one_message(requests.subspan(taken), error);
    }
    return taken;
}

std::size_t PrivateFiles::hold_in_one_message(std::span<Request* const> requests,
                                              int& error) noexcept {
    Parcel parcel;
    std::size_t taken = 0;
    while (taken < requests.size() && parcel.count + 2 <= most_files) {
        error = hold(parcel, *requests[taken]);
        if (error != 0) {
            break;
        }
        ++taken;
    }
    const int send_error = parcel.count != 0 ? send(parcel) : 0;
    if (send_error == 0) {
        return taken;
    }
    error = send_error;
    for (auto* request : requests.first(taken)) {
        let_go(*request);
    }
    const bool is_ones = error == EINVAL || error == EBADF;
    return is_ones ? hold_in_two_messages(requests.first(taken), error) : 0;
}

// One of the files is what can't be sent, as an io_uring's, or was closed just now: those before it
// are taken.
std::size_t PrivateFiles::hold_in_two_messages(std::span<Request* const> requests,
                                               int& error) noexcept {
    if (requests.size() < 2) {
        return 0;
    }
    const auto half = requests.size() / 2;
    error = 0;
    const auto taken = hold_in_one_message(requests.first(half), error);
    if (taken < half) {
        return taken;
    }
    return taken + hold_in_one_message(requests.subspan(half), error);
}

int PrivateFiles::hold(Parcel& parcel, Request& request) noexcept {
    const auto count_before = parcel.count;
    if (const int error = hold(parcel, request.fd, 0, request.file); error != 0) {
        return error;
    }
    if (request.eventfd < 0) {
        return 0;
    }
    int error = request.eventfd_is_checked ? 0 : check_eventfd(request.eventfd);
    if (error == 0) {
        error = hold(parcel, request.eventfd, 1, request.signal_file);
    }
    if (error != 0) {
        let_go(request);
        parcel.count = count_before;
    }
    return error;
}

int PrivateFiles::hold(Parcel& parcel, int number, std::size_t place, HeldFile*& file) noexcept {
    const auto numbers = std::span(parcel.numbers).first(parcel.count);
    if (const auto found = std::ranges::find(numbers, number); found != numbers.end()) {
        file = parcel.files[static_cast<std::size_t>(found - numbers.begin())];
    } else {
        file = find_recent(number, parcel.recent[place]);
    }
    if (file == nullptr) {
        if (first_underway_ != nullptr && is_crowded()) {
            return wait_for_receiver();
        }
        if (fcntl(number, F_GETFD) < 0) {
            return EBADF;
        }
        file = new (std::nothrow) HeldFile{.number = number};
        if (file == nullptr) {
            return ENOMEM;
        }
        ++held_;
        parcel.numbers[parcel.count] = number;
        parcel.files[parcel.count] = file;
        ++parcel.count;
    }
    ++file->users;
    return 0;
}

// What was held for a message that was not sent.
void PrivateFiles::let_go(Request& request) noexcept {
    for (auto* file :
         {std::exchange(request.file, nullptr), std::exchange(request.signal_file, nullptr)}) {
        // one that has arrived has other users
        if (file != nullptr && release(file)) {
            delete file;
        }
    }
}

// `last` is what was found for the request before.
HeldFile* PrivateFiles::find_recent(int number, HeldFile*& last) const noexcept {
    if (number < 0 || (last != nullptr && last->number == number)) {
        return number < 0 ? nullptr : last;
    }
    auto* file = recent_[static_cast<std::size_t>(number) % recent_.size()];
    const bool is_it = file != nullptr && file->number == number && file->fd >= 0 &&
                       are_same_file(this_thread(), number, far_thread_, file->fd);
    last = is_it ? file : nullptr;
    return last;
}

// What is underway is sent again for each request, for nobody can tell yet that it is the same. If
// that takes up half of the numbers that there are, it has to arrive first.
bool PrivateFiles::is_crowded() const noexcept {
    constexpr std::size_t always_enough = 128;
    rlimit limit{};
    return held_ >= always_enough && getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
           held_ >= limit.rlim_cur / 2;
}

int PrivateFiles::wait_for_receiver() noexcept {
    const int error = std::exchange(receive_error_, 0);
    return error != 0 ? error : EAGAIN;
}

int PrivateFiles::send(const Parcel& parcel) noexcept {
    if (!is_private_) {
        return duplicate(parcel);
    }
    auto payload = static_cast<unsigned char>(parcel.count);
    iovec part{.iov_base = &payload, .iov_len = 1};
    const auto size = parcel.count * sizeof(int);
    alignas(cmsghdr) std::array<char, CMSG_SPACE(most_files * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(size);
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), parcel.numbers.data(), size);
    if (sendmsg(near_end_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        // There may be too many that our threads have not received yet. If there are none, there is
        // nothing to wait for: ETOOMANYREFS also counts what else the user has in sockets.
        const bool is_full = errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS;
        if (is_full && first_underway_ != nullptr) {
            return wait_for_receiver();
        }
        return errno;
    }
    for (auto* file : std::span(parcel.files).first(parcel.count)) {
        (last_underway_ != nullptr ? last_underway_->next : first_underway_) = file;
        last_underway_ = file;
        file->is_underway = true;
    }
    return 0;
}

int PrivateFiles::duplicate(const Parcel& parcel) noexcept {
    for (std::size_t i = 0; i < parcel.count; ++i) {
        auto& file = *parcel.files[i];
        file.fd = fcntl(parcel.numbers[i], F_DUPFD_CLOEXEC, 3);
        if (file.fd >= 0) {
            continue;
        }
        const int error = errno;
        while (i-- > 0) {
            ::close(std::exchange(parcel.files[i]->fd, -1));
        }
        return error;
    }
    return 0;
}

void PrivateFiles::receive() noexcept {
    while (first_underway_ != nullptr) {
        unsigned char count = 0;
        iovec part{.iov_base = &count, .iov_len = 1};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(most_files * sizeof(int))> control;
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        if (recvmsg(far_end_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) {
            receive_error_ = errno;
            return;
        }
        receive_error_ = 0;
        std::array<int, most_files> numbers;
        std::size_t arrived = 0;
        if (const auto* header = CMSG_FIRSTHDR(&message);
            header != nullptr && header->cmsg_type == SCM_RIGHTS) {
            arrived = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            std::memcpy(numbers.data(), CMSG_DATA(header), arrived * sizeof(int));
        }
        for (std::size_t i = 0; i < count && first_underway_ != nullptr; ++i) {
            // what our table has no room for is lost
            arrive(next_underway(), i < arrived ? numbers[i] : -1);
        }
    }
}

// There is one, and it is no longer.
HeldFile* PrivateFiles::next_underway() noexcept {
    auto* file = first_underway_;
    first_underway_ = std::exchange(file->next, nullptr);
    if (first_underway_ == nullptr) {
        last_underway_ = nullptr;
    }
    file->is_underway = false;
    return file;
}

void PrivateFiles::arrive(HeldFile* file, int fd) noexcept {
    file->fd = fd;
    if (file->users == 0) {
        --held_;
        close_held(file);
    } else if (fd < 0) {
        file->error = EMFILE;
    } else {
        recent_[static_cast<std::size_t>(file->number) % recent_.size()] = file;
    }
}

bool PrivateFiles::release(HeldFile* file) noexcept {
    if (--file->users != 0 || file->is_underway) {
        return false;
    }
    if (file->number >= 0) {
        auto& recent = recent_[static_cast<std::size_t>(file->number) % recent_.size()];
        recent = recent == file ? nullptr : recent;
    }
    --held_;
    return true;
}

}  // namespace engine
