// SPDX-License-Identifier: Apache-2.0
// Tables of descriptors of a thread's own, and the files whose copies must not be closed for them.
#include "engine/file_flush.hpp"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "engine/empty_table.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"
#include "sandbox.hpp"

namespace {

using engine::enter_empty_table;
using engine::MountTable;
using engine::UniqueFd;

bool may_flush(int fd) {
    MountTable mounts;
    return engine::may_flush(fd, mounts);
}

class Queue {
public:
    Queue() {
        const auto name = "/linux_aio_test_" + std::to_string(getpid());
        fd_ = UniqueFd(mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, nullptr));
        if (!fd_.is_open()) {
            throw check::Skipped("no message queues here");
        }
        mq_unlink(name.c_str());
    }

    int get() const { return fd_.get(); }
    void move_to(int number) {
        fixtures::succeeded(dup3(fd_.get(), number, O_CLOEXEC));
        fd_ = UniqueFd(number);
    }

    void ask_for_notification() const {
        sigevent event{};
        event.sigev_notify = SIGEV_NONE;
        fixtures::succeeded(mq_notify(fd_.get(), &event));
    }
    // EBUSY while there is one.
    bool has_registration() const {
        sigevent event{};
        event.sigev_notify = SIGEV_NONE;
        return mq_notify(fd_.get(), &event) != 0 && errno == EBUSY;
    }

private:
    UniqueFd fd_;
};

void test_files_without_flush() {
    const auto memory = fixtures::memory_file("data");
    const UniqueFd event(eventfd(0, EFD_CLOEXEC));
    std::array<int, 2> pipe{};
    fixtures::succeeded(pipe2(pipe.data(), O_CLOEXEC));
    const UniqueFd reader(pipe[0]);
    const UniqueFd writer(pipe[1]);
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    const UniqueFd proc(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    const UniqueFd folder(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (const auto* fd : {&memory, &event, &reader, &writer, &socket, &null, &proc, &folder}) {
        check::is_true(fd->is_open() && !may_flush(fd->get()), "nobody hears of its closing");
    }
#ifdef __NR_pidfd_open
    const UniqueFd process(static_cast<int>(syscall(__NR_pidfd_open, getpid(), 0)));
    if (process.is_open()) {
        check::is_true(!may_flush(process.get()), "a process's");
    }
#endif
    check::is_true(!may_flush(1000), "not open");
}

void test_a_message_queue() {
    const Queue queue;
    check::is_true(may_flush(queue.get()), "it drops the registration");
    const UniqueFd path(
        open(("/proc/self/fd/" + std::to_string(queue.get())).c_str(), O_PATH | O_CLOEXEC));
    check::is_true(path.is_open() && !may_flush(path.get()), "a path has no flush");
}

void ask_for_private_tables() {
#ifdef __NR_close_range
    bool has = false;
    std::thread([&] { has = syscall(__NR_close_range, ~0U, ~0U, 2U) == 0; }).join();
    if (has) {
        return;
    }
#endif
    throw check::Skipped("no private tables here");
}

std::size_t count_open(int most) {
    std::size_t count = 0;
    for (int fd = 0; fd < most; ++fd) {
        count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
}

constexpr int many = 300;

// What the thread has afterwards, of two sockets with these numbers.
std::size_t left_in_table(std::array<int, 2> kept, bool& entered) {
    std::size_t left = 0;
    std::thread([&] {
        entered = enter_empty_table(kept);
        left = count_open(many);
        if (entered) {
            check::is_true(fcntl(kept[0], F_GETFD) >= 0 && fcntl(kept[1], F_GETFD) >= 0, "kept");
        }
    }).join();
    return left;
}

std::array<int, 2> sockets_at(int number) {
    std::array<int, 2> ends{};
    fixtures::succeeded(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()));
    for (int& end : ends) {
        fixtures::succeeded(dup3(end, number, O_CLOEXEC));
        close(end);
        end = number++;
    }
    return ends;
}

void test_an_empty_table() {
    ask_for_private_tables();
    for (const int number : {40, 200}) {
        const auto ends = sockets_at(number);
        const UniqueFd one(ends[0]);
        const UniqueFd other(ends[1]);
        const auto before = count_open(many);
        bool entered = false;
        check::equal(left_in_table(ends, entered), 2);
        check::is_true(entered, "a table of its own");
        check::equal(count_open(many), before);
    }
}

void test_an_empty_table_where_nothing_can_be_fetched() {
    ask_for_private_tables();
#ifdef __NR_pidfd_getfd
    const auto ends = sockets_at(200);
    const UniqueFd one(ends[0]);
    const UniqueFd other(ends[1]);
    bool entered = false;
    std::size_t left = 0;
    std::thread([&] {
        sandbox::refuse(__NR_pidfd_getfd, EPERM);
        left = left_in_table(ends, entered);
    }).join();
    check::is_true(entered, "a table of its own");
    check::equal(left, 2);
#endif
}

void test_a_registration_stays() {
    ask_for_private_tables();
    const auto ends = sockets_at(40);
    const UniqueFd one(ends[0]);
    const UniqueFd other(ends[1]);
    for (const int number : {30, 250}) {
        Queue queue;
        queue.move_to(number);
        queue.ask_for_notification();
        bool entered = false;
        left_in_table(ends, entered);
        check::is_true(queue.has_registration(), "of the program's");
        check::equal(entered, number > 64);
    }
}

// Where copies would have to be made of all that is below, one of those is enough.
void test_a_registration_stays_where_nothing_can_be_fetched() {
    ask_for_private_tables();
#ifdef __NR_pidfd_getfd
    const auto ends = sockets_at(200);
    const UniqueFd one(ends[0]);
    const UniqueFd other(ends[1]);
    Queue queue;
    queue.move_to(150);
    queue.ask_for_notification();
    bool entered = true;
    std::thread([&] {
        sandbox::refuse(__NR_pidfd_getfd, EPERM);
        left_in_table(ends, entered);
    }).join();
    check::is_true(!entered, "no table");
    check::is_true(queue.has_registration(), "of the program's");
#endif
}

}  // namespace

int main() {
    return check::run({
        {"files that have no flush", test_files_without_flush},
        {"a message queue", test_a_message_queue},
        {"an empty table", test_an_empty_table},
        {"an empty table, and nothing can be fetched",
         test_an_empty_table_where_nothing_can_be_fetched},
        {"a registration stays", test_a_registration_stays},
        {"a registration stays, and nothing can be fetched",
         test_a_registration_stays_where_nothing_can_be_fetched},
    });
}
