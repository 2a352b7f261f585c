// SPDX-License-Identifier: Apache-2.0
// Descriptors that no child process gets.
#include "engine/clofork_fd.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/aio_engine.hpp"
#include "engine/descriptor_table.hpp"

namespace {

using engine::CloforkFd;
using engine::ForkBarrier;
using engine::make_clofork_eventfd;

bool in_child(auto question) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(question() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status == 0;
}

bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

void test_a_child_has_none() {
    std::array fds{make_clofork_eventfd(0), make_clofork_eventfd(0), make_clofork_eventfd(0)};
    const std::array numbers{fds[0].get(), fds[1].get(), fds[2].get()};
    const bool all_closed = in_child([&] {
        bool is_right = true;
        for (std::size_t i = 0; i < fds.size(); ++i) {
            is_right = is_right && !is_open(numbers[i]) && !fds[i].is_open();
        }
        return is_right;
    });
    check::is_true(all_closed, "closed in the child, and their owners know");
    for (const int number : numbers) {
        check::is_true(is_open(number), "open in the parent");
    }
}

// What owners do in the child touches no number that it has used again.
void test_numbers_that_are_used_again() {
    auto first = make_clofork_eventfd(0);
    auto second = make_clofork_eventfd(0);
    check::is_true(in_child([&] {
                       const int reused = eventfd(0, 0);
                       first.reset();
                       const auto moved = std::move(second);
                       return is_open(reused) && !moved.is_open();
                   }),
                   "the child's own stays open");
}

void test_what_was_moved_or_closed_before() {
    auto first = make_clofork_eventfd(0);
    const int number = first.get();
    CloforkFd second = std::move(first);
    CloforkFd third;
    third = std::move(second);
    check::equal(third.get(), number);
    check::is_true(in_child([&] { return !is_open(number) && !third.is_open(); }), "moved twice");
    third.reset();
    check::is_true(!is_open(number), "closed by its owner");
    const int reused = eventfd(0, 0);
    check::is_true(in_child([&] { return is_open(reused); }), "no longer listed");
    close(reused);
}

void test_a_grandchild() {
    const auto parents = make_clofork_eventfd(0);
    check::is_true(in_child([&] {
                       const auto childs = make_clofork_eventfd(0);
                       const int number = childs.get();
                       return is_open(number) && in_child([&] { return !is_open(number); });
                   }),
                   "what a child makes is not its child's");
}

void test_a_thread_with_its_own_table() {
    const int number = eventfd(0, 0);
    CloforkFd fd;
    std::thread([&] {
        CloforkFd::use_own_table();
        const ForkBarrier barrier;
        fd.adopt(number, barrier);
    }).join();
    check::is_true(in_child([&] { return is_open(number) && fd.get() == number; }),
                   "it is not what the program has by that number");
}

std::size_t count_open() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++count;
    }
    return count;
}

bool has_ring() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find("[aio]") != std::string::npos) {
            return true;
        }
    }
    return false;
}

// Children that are made at any moment of another thread's making and closing.
void test_forks_beside_threads_that_make_them() {
    const auto before = count_open();
    std::atomic<bool> is_over = false;
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
        while (!is_over) {
            const engine::DescriptorTable files;
            auto moved = make_clofork_eventfd(0);
            const auto last = std::move(moved);
        }
    });
    threads.emplace_back([&] {
        while (!is_over) {
            try {
                const engine::AioEngine engine(4, engine::AtLimit::wait);
            } catch (const std::system_error&) {
                return;  // no kernel AIO here
            }
        }
    });
    constexpr int children = 300;
    int wrong = 0;
    for (int i = 0; i < children; ++i) {
        wrong += in_child([&] { return count_open() == before && !has_ring(); }) ? 0 : 1;
    }
    is_over = true;
    for (auto& thread : threads) {
        thread.join();
    }
    check::equal(wrong, 0);
}

}  // namespace

int main() {
    return check::run({
        {"a child process has none of them", test_a_child_has_none},
        {"numbers that the child uses again", test_numbers_that_are_used_again},
        {"what was moved, or closed, before", test_what_was_moved_or_closed_before},
        {"a grandchild", test_a_grandchild},
        {"a thread with a table of its own", test_a_thread_with_its_own_table},
        {"forks beside threads that make them", test_forks_beside_threads_that_make_them},
    });
}
