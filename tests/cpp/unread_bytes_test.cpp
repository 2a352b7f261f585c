// SPDX-License-Identifier: Apache-2.0
// Bytes that are kept for the next read of a stream, and who is told of them.
#include "engine/unread_bytes.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "check.hpp"
#include "engine/clofork_fd.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::UniqueFd;
using engine::UnreadListener;

void keep(const fixtures::Pipe& pipe, std::string_view bytes) {
    const auto key = engine::stream_key_of(pipe.reader());
    check::is_true(key.has_value(), "a pipe is a stream");
    engine::keep_unread(*key, std::as_bytes(std::span(bytes)));
}

std::string take(const fixtures::Pipe& pipe, std::size_t most) {
    std::string buffer(most, '.');
    const auto count =
        engine::take_unread(fixtures::read_request(pipe.reader(), buffer), pipe.reader());
    buffer.resize(static_cast<std::size_t>(count));
    return buffer;
}

void test_in_order() {
    const fixtures::Pipe pipe;
    check::equal(take(pipe, 4), "");
    keep(pipe, "one ");
    keep(pipe, "two");
    check::equal(take(pipe, 2), "on");
    check::is_true(engine::has_unread(pipe.reader()), "the rest");
    check::equal(take(pipe, 100), "e two");
    check::is_true(!engine::has_unread(pipe.reader()), "no rest");
}

void test_much() {
    const fixtures::Pipe pipe;
    std::string much(100'000, '.');
    for (std::size_t i = 0; i < much.size(); ++i) {
        much[i] = static_cast<char>('a' + i % 23);
    }
    keep(pipe, much);
    std::string taken;
    while (engine::has_unread(pipe.reader())) {
        taken += take(pipe, 30'000);
    }
    check::is_true(taken == much, "all of it, in order");
}

void test_parts() {
    const fixtures::Pipe pipe;
    std::string text("abcdefgh");
    std::array parts{iovec{.iov_base = text.data(), .iov_len = 3},
                     iovec{.iov_base = text.data() + 3, .iov_len = 0},
                     iovec{.iov_base = text.data() + 3, .iov_len = 5}};
    const engine::OperationData read{
        .opcode = engine::Opcode::readv, .address = parts.data(), .length = parts.size()};
    engine::keep_unread(*engine::stream_key_of(pipe.reader()), read, 5);
    text.assign(8, '.');
    check::equal(engine::take_unread(read, pipe.reader()), 5);
    check::equal(text, "abcde...");
}

bool is_signalled(int number) {
    eventfd_t value = 0;
    return eventfd_read(number, &value) == 0;
}

void test_a_listener() {
    const fixtures::Pipe pipe;
    const UniqueFd signal(fixtures::succeeded(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
    const std::atomic<int> number = signal.get();
    UnreadListener listener(number);
    check::is_true(!listener.take_news(), "nothing is new");
    keep(pipe, "news");
    check::is_true(is_signalled(signal.get()), "it is woken");
    check::is_true(listener.take_news() && !listener.take_news(), "it is new once");
    take(pipe, 4);
}

// There, the number of the eventfd may be any file's.
void test_a_thread_with_another_table() {
#ifdef __NR_close_range
    const fixtures::Pipe pipe;
    const auto file = fixtures::memory_file("");
    const UniqueFd signal(fixtures::succeeded(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
    const std::atomic<int> number = signal.get();
    UnreadListener listener(number);
    bool has_table = false;
    std::thread([&] {
        constexpr unsigned last = ~0U;
        constexpr unsigned unshare = 2;  // CLOSE_RANGE_UNSHARE
        has_table = syscall(__NR_close_range, last, last, unshare) == 0 &&
                    dup2(file.get(), signal.get()) == signal.get();
        if (has_table) {
            engine::CloforkFd::use_own_table();
            keep(pipe, "news");
        }
    }).join();
    if (!has_table) {
        throw check::Skipped("no private tables here");
    }
    check::equal(lseek(file.get(), 0, SEEK_END), 0);
    check::is_true(listener.take_news(), "when it looks, it knows");
    check::is_true(!is_signalled(signal.get()), "nobody could wake it");
    engine::tell_of_unread();
    check::is_true(is_signalled(signal.get()) && listener.take_news(), "now it is woken");
    engine::tell_of_unread();
    check::is_true(!is_signalled(signal.get()), "and told once");
    take(pipe, 4);
#else
    throw check::Skipped("no private tables here");
#endif
}

}  // namespace

int main() {
    return check::run({
        {"in order", test_in_order},
        {"much", test_much},
        {"parts", test_parts},
        {"a listener", test_a_listener},
        {"a thread with another table", test_a_thread_with_another_table},
    });
}
