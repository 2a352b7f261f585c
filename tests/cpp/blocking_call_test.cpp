// SPDX-License-Identifier: Apache-2.0
// What is a stream, and requests that no call carries out.
#include "engine/blocking_call.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
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

void test_polls() {
    const fixtures::Pipe pipe;
    check::equal(engine::carry_out(fixtures::poll_request(pipe.reader()), pipe.reader(), true, 0),
                 -EINVAL);
}

}  // namespace

int main() {
    return check::run({
        {"streams", test_streams},
        {"what has offsets", test_what_has_offsets},
        {"what is not open", test_what_is_not_open},
        {"polls", test_polls},
    });
}
