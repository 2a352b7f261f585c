// SPDX-License-Identifier: Apache-2.0
// Files that are held for threads of ours: the right ones, and without a trace in the program's
// table of descriptors.
#include "engine/descriptor_table.hpp"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "few_numbers.hpp"
#include "fixtures.hpp"
#include "sandbox.hpp"

namespace {

using engine::DescriptorTable;
using engine::FileRef;
using engine::Request;
using engine::UniqueFd;

// A thread that does what it is told, one thing after the other. Who tells it waits, so that no
// lock is needed.
class Helper {
public:
    Helper() : thread_([this] { work(); }) {}
    Helper(const Helper&) = delete;
    Helper& operator=(const Helper&) = delete;
    ~Helper() {
        next_.set_value({});
        thread_.join();
    }

    void run(std::function<void()> action) {
        std::promise<void> done;
        auto is_done = done.get_future();
        next_.set_value([&] {
            action();
            next_ = {};
            done.set_value();
        });
        check::get(is_done);
    }

private:
    void work() {
        for (;;) {
            const auto action = next_.get_future().get();
            if (!action) {
                return;
            }
            action();
        }
    }

    std::promise<std::function<void()>> next_;
    std::thread thread_;
};

// Where the kernel or a sandbox has no close_range(2): for the thread that calls it.
void refuse_close_range() {
#ifdef __NR_close_range
    sandbox::refuse(__NR_close_range, ENOSYS);
#endif
}

bool has_private_tables() {
    bool has = false;
#ifdef __NR_close_range
    constexpr unsigned last = ~0U;
    constexpr unsigned unshare = 2;  // CLOSE_RANGE_UNSHARE
    std::thread([&] { has = syscall(__NR_close_range, last, last, unshare) == 0; }).join();
#endif
    return has;
}

enum class Table : std::uint8_t { its_own, shared };

// Files, and the thread of ours that uses them.
class Files {
public:
    explicit Files(Table table = Table::its_own) {
        if (table == Table::its_own && !has_private_tables()) {
            throw check::Skipped("no private tables here");
        }
        check::is_true(table_.is_open(), "the numbers were to be had");
        check::equal(table_.open_sockets(), 0);
        ours_.run([&] {
            if (table == Table::shared) {
                refuse_close_range();
            }
            table_.note_table(table_.open_private_table());
        });
    }

    std::size_t hold(std::span<Request> requests, int& error) {
        return table_.hold(fixtures::addresses(requests), error);
    }

    // Returns 0 or an errno.
    int hold(Request& request) {
        int error = 0;
        hold({&request, 1}, error);
        return error;
    }

    void receive() {
        ours_.run([this] { table_.receive(); });
    }

    // In the thread that calls, while ours is idle.
    void receive_here() { table_.receive(); }

    void close() { table_.close(); }

    void hide_far_end() { table_.hide_far_end(); }

    void in_our_thread(std::function<void()> action) { ours_.run(std::move(action)); }

    // Whether the request's files have arrived. A file that arrived before is the request's then.
    bool has_files(Request& request) {
        bool has_all = false;
        ours_.run([&] { has_all = table_.has_files(request); });
        return has_all;
    }

    // Whether it was the last user.
    bool release(FileRef*& held) {
        bool was_last = false;
        ours_.run([&] {
            auto* file = std::exchange(held, nullptr);
            was_last = table_.release(file);
            if (was_last) {
                engine::close_file_ref(file);
            }
        });
        return was_last;
    }

    // The beginning of a file that our thread has.
    std::string read(const FileRef* file) {
        std::string text(16, '\0');
        ssize_t size = 0;
        ours_.run([&] { size = pread(file->fd, text.data(), text.size(), 0); });
        text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
        return text;
    }

private:
    DescriptorTable table_;
    Helper ours_;
};

Request request_of(int fd, int eventfd = -1) {
    return {{.opcode = engine::Opcode::fsync, .fd = fd, .eventfd = eventfd}};
}

UniqueFd make_eventfd() { return UniqueFd(fixtures::succeeded(eventfd(0, EFD_CLOEXEC))); }

bool are_same_inode(int left, const struct stat& right) {
    struct stat status{};
    return fstat(left, &status) == 0 && status.st_dev == right.st_dev &&
           status.st_ino == right.st_ino;
}

// How many numbers of the calling thread's table are this file's.
std::size_t count_numbers(const struct stat& file) {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/thread-self/fd")) {
        count += are_same_inode(std::stoi(entry.path().filename()), file) ? 1 : 0;
    }
    return count;
}

struct stat status_of(int fd) {
    struct stat status{};
    fixtures::succeeded(fstat(fd, &status));
    return status;
}

struct flock whole_file() {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

// As a process sees it that has no lock, or here an open file.
bool is_locked(int fd) {
    auto lock = whole_file();
    fixtures::succeeded(fcntl(fd, F_OFD_GETLK, &lock));
    return lock.l_type == F_WRLCK;
}

// The kernel's, which valgrind does not change.
bool is_limit_of_numbers(int count) {
    std::ifstream limits("/proc/self/limits");
    for (std::string line; std::getline(limits, line);) {
        std::istringstream words(line);
        std::string max;
        std::string open;
        std::string files;
        int limit = 0;
        if (words >> max >> open >> files >> limit && open == "open" && files == "files") {
            return limit == count;
        }
    }
    return false;
}

void ask_for_limit() {
    constexpr int enough = 100;
    const FewNumbers few(enough);
    if (!is_limit_of_numbers(enough)) {
        throw check::Skipped("no limit of numbers that the kernel knows of");
    }
}

// Files whose contents tell them apart.
std::vector<UniqueFd> numbered_files(std::size_t count) {
    std::vector<UniqueFd> files;
    files.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        files.push_back(fixtures::memory_file(std::to_string(i)));
    }
    return files;
}

std::vector<Request> requests_of(std::span<const UniqueFd> files) {
    std::vector<Request> requests;
    requests.reserve(files.size());
    for (const auto& file : files) {
        requests.push_back(request_of(file.get()));
    }
    return requests;
}

void release_all(Files& files, std::span<Request> requests) {
    for (auto& request : requests) {
        for (auto** file : {&request.file, &request.signal_file}) {
            if (*file != nullptr) {
                files.release(*file);
            }
        }
    }
}

// --- whose it is

void test_a_path_and_a_file_of_one_device() {
    Files files;
    const UniqueFd folder(fixtures::succeeded(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    auto request = request_of(folder.get());
    check::equal(files.hold(request), 0);
    const auto of_path = engine::find_cached_device(AT_FDCWD, "/proc");
    if (of_path != 0) {  // else the kernel has no openat2(2) that asks its cache
        check::equal(of_path, request.file->device);
    }
    check::is_true(of_path % 2 == 0, "no stream's");
    files.receive();
    files.release(request.file);
}

// What is refused of one file is asked of others all the same.
void test_a_path_that_is_refused() {
    if (engine::find_cached_device(AT_FDCWD, "/proc") == 0) {
        throw check::Skipped("no openat2(2) here that asks the kernel's cache");
    }
    std::uint64_t of_refused = 1;
    std::uint64_t of_other = 0;
    std::thread([&] {
        const UniqueFd folder(fixtures::succeeded(open("/", O_PATH | O_CLOEXEC)));
        sandbox::refuse_if(__NR_openat2, 0, static_cast<std::uint32_t>(folder.get()), EPERM);
        of_refused = engine::find_cached_device(folder.get(), "proc");
        of_other = engine::find_cached_device(AT_FDCWD, "/proc");
    }).join();
    check::equal(of_refused, 0);
    check::is_true(of_other != 0, "it is asked");
}

// --- the right file

void test_a_number_that_is_reused_on_the_way() {
    Files files;
    const auto first = fixtures::memory_file("first");
    const auto second = fixtures::memory_file("second");
    auto request = request_of(first.get());
    check::equal(files.hold(request), 0);
    fixtures::succeeded(dup2(second.get(), first.get()));
    files.receive();
    check::equal(files.read(request.file), "first");
    files.release(request.file);
}

void test_a_number_that_is_reused_later() {
    Files files;
    const auto first = fixtures::memory_file("first");
    const auto second = fixtures::memory_file("second");
    std::array requests{request_of(first.get()), request_of(first.get())};
    check::equal(files.hold(requests[0]), 0);
    files.receive();
    fixtures::succeeded(dup2(second.get(), first.get()));
    check::equal(files.hold(requests[1]), 0);
    files.receive();
    check::equal(files.read(requests[0].file), "first");
    check::equal(files.read(requests[1].file), "second");
    // the first one's end does not make us forget the second
    files.release(requests[0].file);
    check::equal(files.hold(requests[0]), 0);
    check::is_true(requests[0].file == requests[1].file, "the second is still known");
    release_all(files, requests);
}

void test_a_number_that_is_closed() {
    Files files;
    auto first = fixtures::memory_file("first");
    const int number = first.get();
    std::array requests{request_of(number), request_of(number)};
    check::equal(files.hold(requests[0]), 0);
    files.receive();
    first = {};
    check::equal(files.hold(requests[1]), EBADF);
    check::equal(files.read(requests[0].file), "first");
    release_all(files, requests);
}

// More than one message carries, with eventfds.
void test_each_request_has_its_own_file() {
    Files files;
    const auto numbered = numbered_files(150);
    const auto signal = make_eventfd();
    auto requests = requests_of(numbered);
    for (auto& request : requests) {
        request.eventfd = signal.get();
    }
    int error = 0;
    check::equal(files.hold(requests, error), requests.size());
    check::equal(error, 0);
    files.receive();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        check::is_true(files.has_files(requests[i]), "its files have arrived");
        check::equal(files.read(requests[i].file), std::to_string(i));
        const auto fd = requests[i].signal_file->fd;
        files.in_our_thread([&] { check::equal(eventfd_write(fd, 1), 0); });
    }
    eventfd_t value = 0;
    fixtures::succeeded(eventfd_read(signal.get(), &value));
    check::equal(value, requests.size());
    release_all(files, requests);
}

// --- what is sent, and when

void ask_for_kcmp() {
    const UniqueFd fd = make_eventfd();
    const auto self = syscall(__NR_gettid);
    if (syscall(__NR_kcmp, self, self, KCMP_FILE, fd.get(), fd.get()) != 0) {
        throw check::Skipped("no kcmp(2) here: each file is sent again");
    }
}

void test_a_held_file_is_not_sent_again() {
    ask_for_kcmp();
    Files files;
    const auto file = fixtures::memory_file("data");
    const auto signal = make_eventfd();
    std::array requests{request_of(file.get(), signal.get()), request_of(file.get(), signal.get())};
    check::equal(files.hold(requests[0]), 0);
    files.receive();
    check::equal(files.hold(requests[1]), 0);
    check::is_true(requests[0].file == requests[1].file, "one file");
    check::is_true(requests[0].signal_file == requests[1].signal_file, "one eventfd");
    check::equal(requests[0].file->users, 2);
    const auto status = status_of(file.get());
    std::size_t numbers = 0;
    files.in_our_thread([&] { numbers = count_numbers(status); });
    check::equal(numbers, 1);
    release_all(files, requests);
}

void test_one_file_of_several_requests_is_sent_once() {
    Files files;
    const auto file = make_eventfd();
    std::array requests{request_of(file.get(), file.get()), request_of(file.get(), file.get())};
    int error = 0;
    check::equal(files.hold(requests, error), 2);
    check::equal(requests[0].file->users, 4);
    files.receive();
    check::is_true(!files.release(requests[0].file), "it has three more users");
    check::is_true(!files.release(requests[0].signal_file), "it has two more users");
    check::is_true(!files.release(requests[1].signal_file), "it has one more user");
    check::is_true(files.release(requests[1].file), "it has no more users");
}

void test_a_file_that_was_let_go_is_sent_again() {
    Files files;
    const auto file = fixtures::memory_file("data");
    auto request = request_of(file.get());
    for (int i = 0; i < 3; ++i) {
        check::equal(files.hold(request), 0);
        check::equal(request.file->fd, -1);
        files.receive();
        check::equal(files.read(request.file), "data");
        check::is_true(files.release(request.file), "its only user");
    }
    const auto status = status_of(file.get());
    std::size_t numbers = 0;
    files.in_our_thread([&] { numbers = count_numbers(status); });
    check::equal(numbers, 0);
}

// Numbers that share a place in what is remembered.
void test_many_numbers() {
    Files files;
    const auto numbered = numbered_files(200);
    auto requests = requests_of(numbered);
    int error = 0;
    check::equal(files.hold(requests, error), requests.size());
    files.receive();
    auto again = requests_of(numbered);
    check::equal(files.hold(again, error), again.size());
    files.receive();
    for (std::size_t i = 0; i < again.size(); ++i) {
        check::equal(files.read(requests[i].file), std::to_string(i));
        check::equal(files.read(again[i].file), std::to_string(i));
    }
    release_all(files, requests);
    release_all(files, again);
}

// One message for each request, until there is no more room or the requests are used up. Returns
// how many were taken.
std::size_t fill_socket(Files& files, std::span<Request> requests) {
    std::size_t taken = 0;
    while (taken < requests.size() && files.hold(requests[taken]) == 0) {
        ++taken;
    }
    return taken;
}

constexpr std::size_t far_too_many = 10000;

void test_a_full_socket() {
    Files files;
    const auto numbered = numbered_files(7);
    std::vector<Request> requests;
    requests.reserve(far_too_many);
    for (std::size_t i = 0; i < far_too_many; ++i) {
        requests.push_back(request_of(numbered[i % numbered.size()].get()));
    }
    const auto taken = fill_socket(files, requests);
    check::is_true(taken < requests.size(), "the socket is full");
    auto& refused = requests[taken];
    check::is_true(refused.file == nullptr, "the last was not taken");
    check::equal(files.hold(refused), EAGAIN);
    files.receive();
    check::equal(files.hold(refused), 0);
    files.receive();
    for (std::size_t i = 0; i <= taken; ++i) {
        check::equal(files.read(requests[i].file), std::to_string(i % numbered.size()));
    }
    release_all(files, requests);
}

// Room for the first message of two.
void test_a_socket_that_becomes_full() {
    Files files;
    const auto numbered = numbered_files(100);
    auto fillers = std::vector<Request>(far_too_many, request_of(numbered[0].get()));
    const auto room = fill_socket(files, fillers);
    files.receive();
    release_all(files, fillers);
    fill_socket(files, std::span(fillers).first(room - 1));
    auto requests = requests_of(numbered);
    int error = 0;
    const auto taken = files.hold(requests, error);
    check::equal(error, EAGAIN);
    check::is_true(taken > 0 && taken < requests.size(), "some were taken");
    for (const auto& request : std::span(requests).subspan(taken)) {
        check::is_true(request.file == nullptr, "untouched");
    }
    files.receive();
    check::equal(files.hold(std::span(requests).subspan(taken), error), requests.size() - taken);
    check::equal(error, 0);
    files.receive();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        check::equal(files.read(requests[i].file), std::to_string(i));
    }
    release_all(files, requests);
    release_all(files, fillers);
}

void refuse_to_receive(int error) noexcept {
    sandbox::refuse(__NR_recvmsg, error);
#ifdef __NR_socketcall
    // glibc's way to it on some 32-bit machines: the number in <linux/net.h> is the first argument
    constexpr std::uint32_t recvmsg_of_socketcall = 17;
    sandbox::refuse_if(__NR_socketcall, 0, recvmsg_of_socketcall, error);
#endif
}

// Where receiving is refused for a time, nothing is taken for received, and what nobody wants any
// more by then goes when it arrives.
void test_what_can_not_be_received() {
    Files files;
    const auto file = fixtures::memory_file("data");
    const auto unwanted = fixtures::memory_file("unwanted");
    auto request = request_of(file.get());
    auto over = request_of(unwanted.get());
    check::equal(files.hold(over), 0);
    check::equal(files.hold(request), 0);
    std::thread([&] {
        refuse_to_receive(ENOMEM);
        files.receive_here();
    }).join();
    check::equal(request.file->fd, -1);
    check::equal(request.file->error, EBADF);
    check::equal(files.release(over.file), false);
    files.receive();
    check::equal(files.read(request.file), "data");
    const auto status = status_of(unwanted.get());
    files.in_our_thread([&] { check::equal(count_numbers(status), 0); });
    files.release(request.file);
}

// Nor when all ends before that.
void test_what_never_arrives() {
    Files files;
    const auto file = fixtures::memory_file("data");
    auto request = request_of(file.get());
    check::equal(files.hold(request), 0);
    check::equal(files.release(request.file), false);
    files.close();
}

// One file, of which nobody knows yet that it is there, does not fill our table.
void test_many_requests_and_few_numbers() {
    Files files;
    const auto file = fixtures::memory_file("data");
    constexpr int limit = 400;
    auto requests = std::vector<Request>(limit, request_of(file.get()));
    std::size_t taken = 0;
    {
        const FewNumbers few(limit);
        while (taken < requests.size() && files.hold(requests[taken]) == 0) {
            ++taken;
        }
        check::equal(taken, limit / 2);
        auto& refused = requests[taken];
        check::equal(files.hold(refused), EAGAIN);
        files.receive();
        for (auto& request : std::span(requests).subspan(taken)) {
            check::equal(files.hold(request), 0);
            check::is_true(request.file == refused.file, "found again");
        }
    }
    for (const auto& request : requests) {
        check::equal(files.read(request.file), "data");
    }
    release_all(files, requests);
}

// A file that can't be sent is no hindrance to those before it.
void test_what_can_not_be_sent() {
    Files files;
    io_uring_params parameters{};
    const UniqueFd ring(static_cast<int>(syscall(__NR_io_uring_setup, 2, &parameters)));
    if (!ring.is_open()) {
        throw check::Skipped("no io_uring here");
    }
    auto refused = request_of(ring.get());
    if (files.hold(refused) == 0) {
        files.receive();
        files.release(refused.file);
        throw check::Skipped("this kernel sends them");
    }
    for (const std::size_t place : {0U, 1U, 2U, 5U, 7U}) {
        const auto numbered = numbered_files(8);
        auto requests = requests_of(numbered);
        requests[place] = request_of(ring.get());
        int error = 0;
        check::equal(files.hold(requests, error), place);
        check::equal(error, EINVAL);
        files.receive();
        for (std::size_t i = 0; i < place; ++i) {
            check::equal(files.read(requests[i].file), std::to_string(i));
        }
        for (const auto& request : std::span(requests).subspan(place)) {
            check::is_true(request.file == nullptr, "not taken");
        }
        release_all(files, std::span(requests).first(place));
    }
}

void test_no_room_in_our_table() {
    ask_for_limit();
    Files files;
    const auto numbered = numbered_files(4);
    auto requests = requests_of(numbered);
    int error = 0;
    check::equal(files.hold(requests, error), 4);
    files.receive();
    const int third = requests[2].file->fd;
    release_all(files, requests);
    check::equal(files.hold(requests, error), 4);
    {
        const FewNumbers few(third);
        files.receive();
    }
    for (const std::size_t i : {0U, 1U}) {
        check::equal(files.read(requests[i].file), std::to_string(i));
    }
    for (const std::size_t i : {2U, 3U}) {
        check::equal(requests[i].file->fd, -1);
        check::equal(requests[i].file->error, EMFILE);
    }
    release_all(files, requests);
    // and goes on when there is
    check::equal(files.hold(requests, error), 4);
    files.receive();
    check::equal(files.read(requests[3].file), "3");
    release_all(files, requests);
}

// --- what can't be held

void test_bad_numbers() {
    Files files;
    const auto file = fixtures::memory_file("data");
    const auto signal = make_eventfd();
    int closed = 0;
    {
        const auto other = fixtures::memory_file("other");
        closed = other.get();
    }
    for (const auto& [fd, eventfd, error] :
         {std::array{-1, -1, EBADF}, std::array{closed, -1, EBADF},
          std::array{closed, signal.get(), EBADF}, std::array{file.get(), closed, EBADF},
          std::array{file.get(), file.get(), EINVAL}}) {
        auto request = request_of(fd, eventfd);
        check::equal(files.hold(request), error);
        check::is_true(request.file == nullptr, "no file is held");
        check::is_true(request.signal_file == nullptr, "no eventfd is held");
    }
}

void test_half_a_batch() {
    Files files;
    const auto first = fixtures::memory_file("first");
    const auto last = fixtures::memory_file("last");
    // its file is held by the first one, its eventfd is none
    const auto refused = request_of(first.get(), last.get());
    std::array requests{request_of(first.get()), request_of(first.get()), refused,
                        request_of(last.get())};
    int error = 0;
    check::equal(files.hold(requests, error), 2);
    check::equal(error, EINVAL);
    files.receive();
    check::equal(files.read(requests[0].file), "first");
    check::equal(requests[0].file->users, 2);
    check::is_true(requests[2].file == nullptr && requests[3].file == nullptr, "not taken");
    check::equal(files.hold(requests[3]), 0);
    files.receive();
    check::equal(files.read(requests[3].file), "last");
    release_all(files, requests);
}

// --- the program's table

void test_two_tables() {
    const auto before = fixtures::memory_file("before");
    Files files;
    const auto after = fixtures::memory_file("after");
    std::size_t in_ours = 0;
    const auto count_in_ours = [&](int fd) {
        const auto status = status_of(fd);
        files.in_our_thread([&] { in_ours = count_numbers(status); });
        return in_ours;
    };
    check::equal(count_in_ours(before.get()), 0);
    check::equal(count_in_ours(after.get()), 0);
    auto request = request_of(after.get());
    check::equal(files.hold(request), 0);
    files.receive();
    check::equal(count_in_ours(after.get()), 1);
    check::equal(count_numbers(status_of(after.get())), 1);
    files.release(request.file);
    check::equal(count_in_ours(after.get()), 0);
    check::equal(count_numbers(status_of(after.get())), 1);
}

void test_record_locks() {
    Files files;
    const auto file = fixtures::memory_file("data");
    auto lock = whole_file();
    fixtures::succeeded(fcntl(file.get(), F_SETLK, &lock));
    auto request = request_of(file.get());
    check::equal(files.hold(request), 0);
    files.receive();
    check::is_true(is_locked(file.get()), "while the file is held");
    files.release(request.file);
    check::is_true(is_locked(file.get()), "when it was let go");
    // that this could be seen
    close(fixtures::succeeded(dup(file.get())));
    check::is_true(!is_locked(file.get()), "not when a number of the program's was closed");
}

// The other side of a pipe sees the end when the program closes it and nothing is in flight.
void test_nothing_is_kept_open() {
    Files files;
    std::array<int, 2> ends{};
    fixtures::succeeded(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK));
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    auto request = request_of(writer.get());
    check::equal(files.hold(request), 0);
    files.receive();
    {
        const UniqueFd closed = std::move(writer);
    }
    char byte = 0;
    check::equal(read(reader.get(), &byte, 1), -1);  // EAGAIN: somebody may write yet
    files.release(request.file);
    check::equal(read(reader.get(), &byte, 1), 0);
}

// --- strangers

// The two sockets that the last Files has, by their numbers in the program's table.
std::vector<int> find_sockets() {
    std::vector<int> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        const int number = std::stoi(entry.path().filename());
        int type = 0;
        socklen_t size = sizeof type;
        if (getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET) {
            found.push_back(number);
        }
    }
    std::ranges::sort(found);
    return found;
}

struct Seal {
    std::uint64_t secret = 0;
    std::uint64_t number = 0;
};

void send_forged(int socket, const Seal& seal, int fd) {
    auto copy = seal;
    iovec part{.iov_base = &copy, .iov_len = sizeof copy};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    check::is_true(sendmsg(socket, &message, MSG_DONTWAIT) >= 0, "sent");
}

// In a process that has all descriptors, as if they had been handed to it.
void in_other_process(const std::function<void()>& action) {
    const auto child =
        static_cast<pid_t>(syscall(__NR_clone, SIGCHLD, nullptr, nullptr, nullptr, 0));
    if (child == 0) {
        action();
        _exit(0);
    }
    int status = 0;
    fixtures::succeeded(waitpid(child, &status, 0));
    check::equal(status, 0);
}

// It knows the secret, and guesses the number.
void test_what_another_process_sends() {
    Files files;
    const auto sockets = find_sockets();
    check::equal(sockets.size(), 2);
    const auto right = fixtures::memory_file("right");
    const auto forged = fixtures::memory_file("forged");
    const auto forged_status = status_of(forged.get());
    std::array requests{request_of(right.get()), request_of(right.get())};
    check::equal(files.hold(requests[0]), 0);
    Seal seal;
    check::is_true(recv(sockets[1], &seal, sizeof seal, MSG_PEEK) == sizeof seal, "seen");
    ++seal.number;
    in_other_process([&] { send_forged(sockets[0], seal, forged.get()); });
    check::equal(files.hold(requests[1]), 0);
    in_other_process([&] { send_forged(sockets[0], seal, forged.get()); });
    files.receive();
    for (const auto& request : requests) {
        check::equal(files.read(request.file), "right");
    }
    std::size_t numbers = 0;
    files.in_our_thread([&] { numbers = count_numbers(forged_status); });
    check::equal(numbers, 0);
    release_all(files, requests);
}

// By mistake: the number may have been another file's.
void test_what_this_process_sends() {
    Files files;
    const auto sockets = find_sockets();
    const auto right = fixtures::memory_file("right");
    const auto forged = fixtures::memory_file("forged");
    send_forged(sockets[0], {.secret = 1, .number = 1}, forged.get());
    check::is_true(send(sockets[0], "text", 4, 0) == 4, "sent");
    check::is_true(send(sockets[0], "", 0, 0) == 0, "sent");
    auto request = request_of(right.get());
    check::equal(files.hold(request), 0);
    files.receive();
    check::equal(files.read(request.file), "right");
    files.release(request.file);
}

// Whoever fills the sockets keeps nothing from arriving.
void test_a_socket_that_others_fill() {
    Files files;
    const auto sockets = find_sockets();
    in_other_process([&] {
        const std::array<char, 16> text{};
        while (send(sockets[0], text.data(), text.size(), MSG_DONTWAIT) > 0) {
        }
    });
    const auto right = fixtures::memory_file("right");
    auto request = request_of(right.get());
    check::equal(files.hold(request), EAGAIN);
    files.receive();
    check::equal(files.hold(request), 0);
    files.receive();
    check::equal(files.read(request.file), "right");
    files.release(request.file);
}

void test_the_receiving_end_is_hidden() {
    Files files;
    check::equal(find_sockets().size(), 2);
    files.hide_far_end();
    check::equal(find_sockets().size(), 1);
    const auto file = fixtures::memory_file("data");
    auto request = request_of(file.get());
    check::equal(files.hold(request), 0);
    files.receive();
    check::equal(files.read(request.file), "data");
    files.release(request.file);
}

// --- without a table of our own

void test_duplicates() {
    Files files(Table::shared);
    const auto first = fixtures::memory_file("first");
    const auto second = fixtures::memory_file("second");
    const auto status = status_of(first.get());
    std::array requests{request_of(first.get()), request_of(first.get())};
    int error = 0;
    check::equal(files.hold(requests, error), 2);
    check::equal(count_numbers(status), 1);
    fixtures::succeeded(dup2(second.get(), first.get()));
    files.receive();
    check::equal(count_numbers(status), 1);
    check::equal(files.read(requests[0].file), "first");
    check::is_true(!files.release(requests[0].file), "it has one more user");
    check::is_true(files.release(requests[1].file), "it has no more users");
    check::equal(count_numbers(status), 0);
}

void test_no_room_for_duplicates() {
    ask_for_limit();
    Files files(Table::shared);
    const auto numbered = numbered_files(4);
    auto requests = requests_of(numbered);
    int error = 0;
    check::equal(files.hold(requests, error), 4);
    files.receive();
    const int third = requests[2].file->fd;
    release_all(files, requests);
    check::equal(files.hold(requests, error), 4);
    {
        const FewNumbers few(third);
        files.receive();
    }
    check::equal(files.read(requests[1].file), "1");
    for (const std::size_t i : {2U, 3U}) {
        check::equal(requests[i].file->fd, -1);
        check::equal(requests[i].file->error, EMFILE);
    }
    release_all(files, requests);
    for (const auto& file : numbered) {
        check::equal(count_numbers(status_of(file.get())), 1);
    }
}

// Closes standard input and output for a time.
class StandardFilesClosed {
public:
    StandardFilesClosed() {
        for (const int number : {STDIN_FILENO, STDOUT_FILENO}) {
            kept_.emplace_back(fixtures::succeeded(fcntl(number, F_DUPFD_CLOEXEC, 10)));
        }
        for (const int number : {STDIN_FILENO, STDOUT_FILENO}) {
            close(number);
        }
    }
    StandardFilesClosed(const StandardFilesClosed&) = delete;
    StandardFilesClosed& operator=(const StandardFilesClosed&) = delete;
    ~StandardFilesClosed() {
        for (const int number : {STDIN_FILENO, STDOUT_FILENO}) {
            dup2(kept_[static_cast<std::size_t>(number)].get(), number);
        }
    }

private:
    std::vector<UniqueFd> kept_;
};

// Our own files may have standard numbers then, which a table of ours gives to something else.
void test_a_program_without_standard_files() {
    const auto file = fixtures::memory_file("data");
    std::string text;
    std::size_t numbers = 0;
    {
        const StandardFilesClosed closed;
        Files files;
        auto request = request_of(file.get());
        if (files.hold(request) == 0) {
            files.receive();
            numbers = count_numbers(status_of(file.get()));
            text = files.read(request.file);
            files.release(request.file);
        }
    }
    check::equal(text, "data");
    check::equal(numbers, 2);  // a duplicate
    check::equal(count_numbers(status_of(file.get())), 1);
}

}  // namespace

int main() {
    return check::run({
        {"a path and a file of one device", test_a_path_and_a_file_of_one_device},
        {"a path that is refused", test_a_path_that_is_refused},
        {"a number that is reused on the way", test_a_number_that_is_reused_on_the_way},
        {"a number that is reused later", test_a_number_that_is_reused_later},
        {"a number that is closed", test_a_number_that_is_closed},
        {"each request has its own file", test_each_request_has_its_own_file},
        {"a held file is not sent again", test_a_held_file_is_not_sent_again},
        {"one file of several requests", test_one_file_of_several_requests_is_sent_once},
        {"a file that was let go", test_a_file_that_was_let_go_is_sent_again},
        {"many numbers", test_many_numbers},
        {"a full socket", test_a_full_socket},
        {"a socket that becomes full", test_a_socket_that_becomes_full},
        {"what can't be received", test_what_can_not_be_received},
        {"what never arrives", test_what_never_arrives},
        {"many requests and few numbers", test_many_requests_and_few_numbers},
        {"what can't be sent", test_what_can_not_be_sent},
        {"no room in our table", test_no_room_in_our_table},
        {"bad numbers", test_bad_numbers},
        {"half a batch", test_half_a_batch},
        {"two tables", test_two_tables},
        {"record locks", test_record_locks},
        {"nothing is kept open", test_nothing_is_kept_open},
        {"what another process sends", test_what_another_process_sends},
        {"what this process sends", test_what_this_process_sends},
        {"a socket that others fill", test_a_socket_that_others_fill},
        {"the receiving end is hidden", test_the_receiving_end_is_hidden},
        {"duplicates, where there is no other table", test_duplicates},
        {"no room for duplicates", test_no_room_for_duplicates},
        {"a program without standard files", test_a_program_without_standard_files},
    });
}
