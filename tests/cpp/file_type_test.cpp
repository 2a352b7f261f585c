// SPDX-License-Identifier: Apache-2.0
// What files are, and how long it may take to close them.
#include "engine/file_type.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>

#include "check.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::is_stream;
using engine::UniqueFd;

UniqueFd opened(const char* path, int flags = O_RDONLY) {
    return UniqueFd(fixtures::succeeded(open(path, flags | O_CLOEXEC)));
}

void test_streams() {
    const fixtures::Pipe pipe;
    check::is_true(is_stream(pipe.reader()) && is_stream(pipe.writer()), "pipes");
    std::array<int, 2> ends{};
    fixtures::succeeded(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()));
    const UniqueFd near(ends[0]);
    const UniqueFd far(ends[1]);
    check::is_true(is_stream(near.get()), "sockets");
    const UniqueFd counter(fixtures::succeeded(eventfd(0, EFD_CLOEXEC)));
    check::is_true(is_stream(counter.get()), "eventfds");
    if (const UniqueFd terminal(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)); terminal.is_open()) {
        check::is_true(is_stream(terminal.get()), "terminals");
    }
}

void test_what_has_offsets() {
    check::is_true(!is_stream(fixtures::memory_file("data").get()), "files");
    check::is_true(!is_stream(opened("/", O_RDONLY | O_DIRECTORY).get()), "directories");
    check::is_true(!is_stream(opened("/dev/zero").get()), "some devices");
}

void test_what_is_not_open() { check::is_true(!is_stream(-1), "nothing"); }

void test_closing() {
    using engine::Closing;
    using engine::closing_of;
    const fixtures::Pipe pipe;
    check::is_true(closing_of(pipe.reader()) == Closing::at_once, "pipes");
    check::is_true(closing_of(fixtures::memory_file("data").get()) == Closing::on_disk, "files");
    check::is_true(closing_of(opened("/dev/zero").get()) == Closing::waits, "terminals");
    check::is_true(closing_of(-1) == Closing::on_disk, "what is not known");
    const UniqueFd socket(fixtures::succeeded(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    check::is_true(closing_of(socket.get()) == Closing::at_once, "sockets");
    const linger setting{.l_onoff = 1, .l_linger = 1};
    fixtures::succeeded(setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &setting, sizeof setting));
    check::is_true(closing_of(socket.get()) == Closing::waits, "sockets that linger");
    const UniqueFd counter(fixtures::succeeded(eventfd(0, EFD_CLOEXEC)));
    check::is_true(closing_of(counter.get()) == Closing::at_once, "eventfds");
    const UniqueFd watch(fixtures::succeeded(inotify_init1(IN_CLOEXEC)));
    check::is_true(closing_of(watch.get()) == Closing::waits, "inotify descriptors");
}

}  // namespace

int main() {
    return check::run({
        {"streams", test_streams},
        {"what has offsets", test_what_has_offsets},
        {"what is not open", test_what_is_not_open},
        {"closing", test_closing},
    });
}
