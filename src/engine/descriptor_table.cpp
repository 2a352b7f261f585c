// SPDX-License-Identifier: Apache-2.0
#include "engine/descriptor_table.hpp"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "engine/call.hpp"
#include "engine/descriptor_limit.hpp"
#include "engine/empty_table.hpp"
#include "engine/eventfd_check.hpp"
#include "engine/file_device.hpp"
#include "engine/file_status.hpp"
#include "engine/file_type.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

pid_t this_thread() noexcept { return static_cast<pid_t>(syscall(__NR_gettid)); }

bool are_same_file(pid_t left_thread, int left, pid_t right_thread, int right) noexcept {
    return syscall(__NR_kcmp, left_thread, right_thread, KCMP_FILE, left, right) == 0;
}

FileRef::Place place_of(const FileStatus& status) noexcept {
    const bool has_file_system = S_ISREG(status.type) || S_ISDIR(status.type);
    const auto file_system = has_file_system ? file_system_of(status) : FileSystem::memory;
    const bool is_local = is_local_disk(file_system) || file_system == FileSystem::memory;
    return is_local ? FileRef::Place::local : FileRef::Place::remote;
}

FileRef::Kind kind_of(int fd, const FileStatus& status) noexcept {
    if (status.error == 0 && is_stream(fd, status.type)) {
        return FileRef::Kind::stream;
    }
    const bool is_empty = S_ISREG(status.type) && status.size == 0;
    const auto file_system = is_empty ? file_system_of(status) : FileSystem::memory;
    // Many drivers let programs seek to no effect, and wait in a read all the same.
    const bool may_wait =
        S_ISCHR(status.type) || file_system == FileSystem::proc || file_system == FileSystem::other;
    return may_wait ? FileRef::Kind::waiting : FileRef::Kind::seekable;
}

}  // namespace

void close_file_ref(FileRef* file) noexcept {
    if (!file->listed.is_open() && file->fd >= 0) {
        ::close(file->fd);
    }
    delete file;
}

FileRef::Kind kind_of(int fd) noexcept { return kind_of(fd, status_of(fd)); }

void learn_kind_and_place(FileRef& file) noexcept {
    if (file.kind != FileRef::Kind::unknown && file.place != FileRef::Place::unknown) {
        return;
    }
    const auto status = status_of(file.fd);
    if (file.kind == FileRef::Kind::unknown) {
        file.kind = kind_of(file.fd, status);
    }
    if (file.place == FileRef::Place::unknown) {
        file.place = place_of(status);
    }
}

bool is_stream(FileRef& file) noexcept {
    if (file.kind == FileRef::Kind::unknown) {
        file.kind = kind_of(file.fd);
    }
    return file.kind == FileRef::Kind::stream;
}

bool may_be_endless(FileRef& file, Opcode opcode) noexcept {
    return is_stream(file) || (file.kind == FileRef::Kind::waiting && is_read(opcode));
}

bool is_still_open(const FileRef& file) noexcept {
    return are_same_file(getpid(), file.number, this_thread(), file.fd);
}

DescriptorTable::DescriptorTable() noexcept
    : wake_(make_clofork_eventfd(EFD_CLOEXEC)), wake_number_(wake_.get()) {}

void DescriptorTable::close() noexcept {
    forget_underway();
    near_end_.reset();
    far_end_.reset();
    wake_.reset();
    returns_.reset();
}

// Empties the list of the files underway. Deletes those without users; the users of the others
// delete them later.
void DescriptorTable::forget_underway() noexcept {
    while (!underway_.empty()) {
        if (auto* file = next_underway(); file->users == 0) {
            --held_;
            delete file;
        }
    }
}

int DescriptorTable::open_sockets() noexcept {
    forget_underway();
    near_end_.reset();
    far_end_.reset();
    returns_.reset();
    int ends[2] = {-1, -1};
    {
        const ForkBarrier barrier;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
            return errno;
        }
        near_end_.adopt(ends[0], barrier);
        far_end_.adopt(ends[1], barrier);
    }
    const int on = 1;
    if (setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
        return errno;
    }
    // A program that closes all numbers has closed the eventfd, too.
    if (check_eventfd(wake_.get()) != 0) {
        {
            const ForkBarrier barrier;
            wake_.release(barrier);
        }
        wake_ = make_clofork_eventfd(EFD_CLOEXEC);
        wake_number_.store(wake_.get());
        if (!wake_.is_open()) {
            return errno;
        }
    }
    far_number_ = ends[1];
    process_ = getpid();
    is_full_ = false;
    is_table_full_ = false;
    if (getrandom(&secret_, sizeof secret_, GRND_NONBLOCK) != sizeof secret_) {
        secret_ =
            static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    }
    return 0;
}

bool DescriptorTable::open_private_table() noexcept {
    const auto own = std::array{far_number_, wake_.get()};
    if (std::ranges::min(own) <= STDERR_FILENO || !enter_empty_table(own)) {
        return false;
    }
    // If code in our threads prints something, it must not go to a file of the program.
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        dup2(far_number_, standard);
    }
    CloforkFd::use_own_table();
    return true;
}

void DescriptorTable::note_table(bool is_private) noexcept {
    far_thread_ = this_thread();
    is_private_ = is_private;
}

void DescriptorTable::hide_far_end() noexcept {
    if (is_private_) {
        far_end_.reset();
    }
}

void DescriptorTable::share_private_table() const noexcept {
    if (is_private_) {
        CloforkFd::use_own_table();
    }
}

bool DescriptorTable::has_first_file(const Request& request) noexcept {
    return request.opcode != Opcode::call ||
           (request.fd != AT_FDCWD && request.call->needs() != Call::Needs::programs_table);
}

bool DescriptorTable::has_second_file(const Request& request) noexcept {
    return request.opcode == Opcode::call && request.second_fd >= 0 &&
           request.call->needs() != Call::Needs::programs_table;
}

void DescriptorTable::open_return() noexcept {
    if (returns_ != nullptr) {
        return;
    }
    try {
        returns_ = std::make_shared<FileReturn>(far_number_);
    } catch (const std::bad_alloc&) {
        return;  // an open then fails
    }
    {
        const ForkBarrier barrier;
        returns_->adopt(fcntl(near_end_.get(), F_DUPFD_CLOEXEC, 3), barrier);
    }
    if (!returns_->is_open()) {
        returns_.reset();
    }
}

void DescriptorTable::forget_private_table() noexcept {
    is_private_ = false;
    far_thread_ = 0;
}

std::size_t DescriptorTable::hold(std::span<Request* const> requests, int& error) noexcept {
    std::size_t taken = 0;
    error = 0;
    while (taken < requests.size() && error == 0) {
        taken += hold_in_one_message(requests.subspan(taken), error);
    }
    return taken;
}

std::size_t DescriptorTable::hold_in_one_message(std::span<Request* const> requests,
                                                 int& error) noexcept {
    Parcel parcel;
    std::size_t taken = 0;
    while (taken < requests.size() && parcel.count + 3 <= most_files) {
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
        release_files(*request);
    }
    const bool is_ones = error == EINVAL || error == EBADF;
    return is_ones ? hold_in_two_messages(requests.first(taken), error) : 0;
}

// Called if one of the files can't be sent, as that of an io_uring, or was closed just now. Sends
// the files of the requests before that one.
std::size_t DescriptorTable::hold_in_two_messages(std::span<Request* const> requests,
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

int DescriptorTable::hold(Parcel& parcel, Request& request) noexcept {
    const auto count_before = parcel.count;
    int error = 0;
    if (has_first_file(request)) {
        error = hold(parcel, request.fd, 0, request.file);
    }
    if (error == 0 && has_second_file(request)) {
        error = hold(parcel, request.second_fd, 2, request.second_file);
    }
    if (error == 0 && request.eventfd >= 0) {
        error = request.eventfd_is_checked ? 0 : check_eventfd(request.eventfd);
    }
    if (error == 0 && request.eventfd >= 0) {
        error = hold(parcel, request.eventfd, 1, request.signal_file);
    }
    if (error != 0) {
        release_files(request);
        parcel.count = count_before;
    }
    return error;
}

int DescriptorTable::hold(Parcel& parcel, int number, std::size_t place, FileRef*& file) noexcept {
    const auto numbers = std::span(parcel.numbers).first(parcel.count);
    if (const auto found = std::ranges::find(numbers, number); found != numbers.end()) {
        file = parcel.files[static_cast<std::size_t>(found - numbers.begin())];
    } else {
        file = find_recent(number, parcel.recent[place]);
    }
    if (file == nullptr) {
        if (is_crowded()) {
            return wait_for_receiver();
        }
        if (fcntl(number, F_GETFD) < 0) {
            return EBADF;
        }
        file = new (std::nothrow) FileRef{.number = number};
        if (file == nullptr) {
            return ENOMEM;
        }
        file->device = device_of(number);
        ++held_;
        parcel.numbers[parcel.count] = number;
        parcel.files[parcel.count] = file;
        ++parcel.count;
    }
    ++file->users;
    return 0;
}

// Releases the files that were held for a message that was not sent.
void DescriptorTable::release_files(Request& request) noexcept {
    for (auto* file :
         {std::exchange(request.file, nullptr), std::exchange(request.second_file, nullptr),
          std::exchange(request.signal_file, nullptr)}) {
        // a file that has arrived has other users, so this one was never sent
        if (file != nullptr && release(file)) {
            delete file;
        }
    }
}

// Finds the FileRef of a number whose file has arrived, if it is still the same file. `last` is the
// one that was found for the request before.
FileRef* DescriptorTable::find_recent(int number, FileRef*& last) const noexcept {
    if (number < 0 || (last != nullptr && last->number == number)) {
        return number < 0 ? nullptr : last;
    }
    auto* file = recent_[static_cast<std::size_t>(number) % recent_.size()];
    const bool is_it = file != nullptr && file->number == number && file->fd >= 0 &&
                       are_same_file(this_thread(), number, far_thread_, file->fd);
    last = is_it ? file : nullptr;
    return last;
}

// Whether files that are underway have to arrive before more are sent. As long as a file is
// underway, it is sent again for each request, because it can't be compared yet. This must not use
// up more than half of the numbers that the limit allows. A few are no reason to wait for the I/O
// thread, however many files are in use.
bool DescriptorTable::is_crowded() const noexcept {
    constexpr std::size_t always_enough = 128;
    return underway_count_ >= always_enough && held_ >= descriptor_limit() / 2;
}

int DescriptorTable::wait_for_receiver() noexcept {
    const int error = std::exchange(receive_error_, 0);
    return error != 0 ? error : EAGAIN;
}

int DescriptorTable::send(const Parcel& parcel) noexcept {
    Seal seal{.secret = secret_, .number = sent_ + 1};
    iovec part{.iov_base = &seal, .iov_len = sizeof seal};
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
        // Files that our threads have not received yet may fill the socket: then the request waits
        // until they have. If no file of ours is underway, a wait would be in vain: ETOOMANYREFS
        // also counts files that the user's other programs have in sockets.
        const int error = errno;
        const bool is_full = error == ENOBUFS || error == ETOOMANYREFS;
        if (error == EAGAIN || (is_full && !underway_.empty())) {
            is_full_ = true;
            return wait_for_receiver();
        }
        return error;
    }
    ++sent_;
    for (auto* file : std::span(parcel.files).first(parcel.count)) {
        underway_.push_back(*file);
        ++underway_count_;
        file->is_underway = true;
        file->message = sent_;
    }
    return 0;
}

// --- receiving

void DescriptorTable::receive() noexcept {
    is_table_full_ = false;
    while (!underway_.empty() || is_full_) {
        std::uint64_t number = 0;
        const auto next = look_at_next(number);
        if (next == NextMessage::none) {
            is_full_ = false;
            return;
        }
        if (next == NextMessage::strangers) {
            drop_next();
            continue;
        }
        if (!has_room_for(number)) {
            is_table_full_ = true;
            return;
        }
        Arrivals arrivals;
        if (!(is_private_ ? take_next(arrivals) : receive_listed(number, arrivals))) {
            return;
        }
        accept(number, arrivals);
    }
}

// Receives files and lists them under one barrier, so that no fork comes in between.
bool DescriptorTable::receive_listed(std::uint64_t number, Arrivals& arrivals) noexcept {
    const ForkBarrier barrier;
    if (!take_next(arrivals)) {
        return false;
    }
    std::size_t i = 0;
    for (auto* file = underway_.front(); file != nullptr && i < arrivals.count; file = file->next) {
        if (file->message != number) {
            continue;
        }
        const int fd = arrivals.fds[i++];
        if (closing_of(fd) == Closing::at_once) {
            file->listed.adopt(fd, barrier);
        }
    }
    return true;
}

void DescriptorTable::accept(std::uint64_t number, const Arrivals& arrivals) noexcept {
    // A message before this one can be lost only if other code got hold of the receiving end.
    while (!underway_.empty() && underway_.front()->message < number) {
        arrive(next_underway(), -1);
    }
    for (std::size_t i = 0; !underway_.empty() && underway_.front()->message == number; ++i) {
        // if fewer files arrived than were sent, the table had no room for the others
        arrive(next_underway(), i < arrivals.count ? arrivals.fds[i] : -1);
    }
}

// Looks at the next message without receiving its files.
DescriptorTable::NextMessage DescriptorTable::look_at_next(std::uint64_t& number) noexcept {
    Seal seal;
    iovec part{.iov_base = &seal, .iov_len = sizeof seal};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto size = recvmsg(far_number_, &message, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
    receive_error_ = size < 0 && errno != EAGAIN ? errno : 0;
    if (size < 0 || message.msg_controllen == 0) {
        return NextMessage::none;  // also if other code has shut down the socket
    }
    number = seal.number;
    const bool is_whole = static_cast<std::size_t>(size) == sizeof seal;
    return is_whole && is_ours(message, seal) ? NextMessage::ours : NextMessage::strangers;
}

bool DescriptorTable::is_ours(const msghdr& message, const Seal& seal) const noexcept {
    const auto* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_level != SOL_SOCKET ||
        header->cmsg_type != SCM_CREDENTIALS) {
        return false;
    }
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
    return sender.pid == process_ && seal.secret == secret_ && !underway_.empty() &&
           seal.number >= underway_.front()->message && seal.number <= sent_;
}

// Whether our threads' table has room for the files of the message. Where our threads use the
// program's table, its limit is the program's own affair.
bool DescriptorTable::has_room_for(std::uint64_t number) const noexcept {
    const auto taken = in_table_ + closing_;
    if (!is_private_ || taken == 0) {
        return true;
    }
    std::size_t count = 0;
    for (const auto* file = underway_.front(); file != nullptr && file->message <= number;
         file = file->next) {
        count += file->message == number ? 1 : 0;
    }
    // What is ours there, as rings, sockets and the files of running calls, is not counted.
    constexpr std::size_t most_of_ours = 512;
    if (taken + count + most_of_ours <= descriptor_limit()) {
        return true;
    }
    return has_free_numbers(count + spare_numbers);
}

// Opens so many descriptors, and closes them again: the one way to learn that there is room.
bool DescriptorTable::has_free_numbers(std::size_t count) const noexcept {
    std::array<UniqueFd, most_files + spare_numbers> opened;
    for (auto& one : std::span(opened).first(count)) {
        one = UniqueFd(fcntl(far_number_, F_DUPFD_CLOEXEC, 0));
        if (!one.is_open()) {
            return false;
        }
    }
    return true;
}

bool DescriptorTable::take_next(Arrivals& arrivals) noexcept {
    Seal seal;
    iovec part{.iov_base = &seal, .iov_len = sizeof seal};
    alignas(cmsghdr)
        std::array<char, CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(most_files * sizeof(int))>
            control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (recvmsg(far_number_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) {
        receive_error_ = errno;
        return false;
    }
    for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            arrivals.count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            std::memcpy(arrivals.fds.data(), CMSG_DATA(header), arrivals.count * sizeof(int));
        }
    }
    return true;
}

// Drops the next message. The kernel closes its files.
void DescriptorTable::drop_next() noexcept {
    msghdr message{};
    recvmsg(far_number_, &message, MSG_DONTWAIT);
}

// Takes the first file off the list of the files underway, which must not be empty.
FileRef* DescriptorTable::next_underway() noexcept {
    auto* file = underway_.pop_front();
    --underway_count_;
    file->is_underway = false;
    return file;
}

void DescriptorTable::arrive(FileRef* file, int fd) noexcept {
    auto& recent = recent_[static_cast<std::size_t>(file->number) % recent_.size()];
    if (file->users != 0 && fd >= 0 && recent != nullptr && recent->number == file->number &&
        is_copy(recent, fd)) {
        if (file->listed.is_open()) {
            file->listed.reset();
        } else {
            ::close(fd);
        }
        ++recent->users;
        file->same_as = recent;
        return;
    }
    file->fd = fd;
    if (file->users == 0) {
        --held_;
        close_file_ref(file);
    } else if (fd < 0) {
        file->error = EMFILE;
    } else {
        ++in_table_;
        file->is_counted = true;
        recent = file;
    }
}

// Whether `fd` is the same open file as `file`'s descriptor, and closing it takes no time. Asked
// when a file arrives that was sent twice: while the first copy was underway, kcmp(2) could not
// compare them.
bool DescriptorTable::is_copy(const FileRef* file, int fd) noexcept {
    constexpr int dupfd_query = 1027;  // F_DUPFD_QUERY of Linux 6.10
    return fcntl(fd, dupfd_query, file->fd) == 1 && closing_of(fd) == Closing::at_once;
}

bool DescriptorTable::has_files(Request& request) noexcept {
    replace(request.file);
    replace(request.second_file);
    replace(request.signal_file);
    return !is_underway(request.file) && !is_underway(request.second_file) &&
           !is_underway(request.signal_file);
}

void DescriptorTable::replace(FileRef*& file) noexcept {
    if (file == nullptr || file->same_as == nullptr) {
        return;
    }
    auto* copy = std::exchange(file, file->same_as);
    ++file->users;
    if (--copy->users == 0) {
        --file->users;
        --held_;
        delete copy;
    }
}

bool DescriptorTable::release(FileRef*& file) noexcept {
    replace(file);
    if (--file->users != 0 || file->is_underway) {
        return false;
    }
    if (file->number >= 0) {
        auto& recent = recent_[static_cast<std::size_t>(file->number) % recent_.size()];
        recent = recent == file ? nullptr : recent;
    }
    --held_;
    in_table_ -= file->is_counted ? 1 : 0;
    return true;
}

}  // namespace engine
