// SPDX-License-Identifier: Apache-2.0
// Engines of one process share its threads, come and go while these are at work, and find them gone
// in a child process.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::Completion;
using engine::Request;
using engine::UniqueFd;
using std::chrono::milliseconds;

std::string_view tested;

std::unique_ptr<engine::Engine> open() {
    int error = 0;
    auto opened = engine::open_engine(tested, 8, error);
    if (opened == nullptr) {
        throw check::Skipped("the engine is not available: " +
                             std::generic_category().message(error < 0 ? -error : error));
    }
    return opened;
}

std::size_t count_entries(const char* directory) {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) {
        ++count;
    }
    return count;
}

// Threads of ours, by their names.
std::size_t count_io_threads() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(entry.path() / "comm");
        std::string name;
        std::getline(file, name);
        count += name == "aio-io" ? 1 : 0;
    }
    return count;
}

void sync(engine::Engine& engine, int fd) {
    Request request;
    request.opcode = engine::Opcode::fsync;
    request.fd = fd;
    Request* const address = &request;
    engine.plan({&address, 1}, std::nullopt);
    check::equal(engine.submit({&address, 1}).taken, 1);
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    Completion completion;
    auto ticket = engine.ticket();
    while (engine.reap({&completion, 1}) == 0) {
        check::is_true(std::chrono::steady_clock::now() < deadline, "it completes");
        engine.wait(ticket, milliseconds(100));
        ticket = engine.ticket();
    }
    check::equal(completion.result, 0);
}

void test_one_set_of_threads() {
    const auto file = fixtures::memory_file("data");
    auto first = open();
    sync(*first, file.get());
    const auto descriptors = count_entries("/proc/self/fd");
    std::vector<std::unique_ptr<engine::Engine>> engines;
    for (int i = 0; i < 100; ++i) {
        engines.push_back(open());
        sync(*engines.back(), file.get());
    }
    check::is_true(count_entries("/proc/self/fd") <= descriptors, "no descriptors are added");
    // those of an earlier test may be on their way out
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    while (count_io_threads() != 1 && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(milliseconds(1));
    }
    check::equal(count_io_threads(), 1);
}

void test_nothing_is_left() {
    const auto file = fixtures::memory_file("data");
    const auto descriptors = count_entries("/proc/self/fd");
    for (int i = 0; i < 50; ++i) {
        sync(*open(), file.get());
    }
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    while (count_entries("/proc/self/fd") != descriptors &&
           std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(milliseconds(1));
    }
    check::equal(count_entries("/proc/self/fd"), descriptors);
}

// The last to leave retires the threads, while another thread's engine joins anew.
void test_many_that_come_and_go() {
    // A user's limit may be reached by several at once: then the test is skipped.
    std::vector<std::future<void>> users;
    for (int i = 0; i < 6; ++i) {
        users.push_back(std::async(std::launch::async, [] {
            const auto file = fixtures::memory_file("data");
            for (int round = 0; round < 60; ++round) {
                const auto engine = open();
                sync(*engine, file.get());
                sync(*engine, file.get());
            }
        }));
    }
    for (auto& user : users) {
        user.wait();
    }
    for (auto& user : users) {
        user.get();
    }
}

void test_a_child_has_its_own() {
    const auto file = fixtures::memory_file("data");
    auto inherited = open();
    sync(*inherited, file.get());
    const auto child = fixtures::succeeded(fork());
    if (child == 0) {
        inherited.reset();
        sync(*open(), file.get());
        _exit(0);
    }
    int status = 0;
    check::equal(waitpid(child, &status, 0), child);
    check::equal(status, 0);
    sync(*inherited, file.get());
}

}  // namespace

int main() {
    int failed = 0;
    for (const auto name : {"threads", "uring"}) {
        tested = name;
        failed |= check::run({
            {"one set of threads", test_one_set_of_threads},
            {"nothing is left", test_nothing_is_left},
            {"engines that come and go", test_many_that_come_and_go},
            {"a child has threads of its own", test_a_child_has_its_own},
        });
    }
    return failed;
}
