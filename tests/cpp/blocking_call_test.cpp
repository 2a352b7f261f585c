// SPDX-License-Identifier: Apache-2.0
// Requests as calls of this thread: which calls they need, and those that no call carries out.
#include "engine/blocking_call.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "check.hpp"
#include "fixtures.hpp"
#include "sandbox.hpp"

namespace {

using engine::carry_out;
using engine::Opcode;

void test_polls() {
    const fixtures::Pipe pipe;
    check::equal(carry_out(fixtures::poll_request(pipe.reader()), pipe.reader(), true, 0), -EINVAL);
}

// Through a file, and a pipe, and back.
void transfer_everything() {
    const auto file = fixtures::memory_file("....");
    const fixtures::Pipe pipe;
    std::string text = "abcd";
    std::string read(4, '.');
    std::array parts{iovec{.iov_base = text.data(), .iov_len = 2},
                     iovec{.iov_base = text.data() + 2, .iov_len = 2}};
    std::array places{iovec{.iov_base = read.data() + 2, .iov_len = 2},
                      iovec{.iov_base = read.data(), .iov_len = 2}};
    engine::OperationData whole{.opcode = Opcode::write, .address = text.data(), .length = 4};
    engine::OperationData vector{.opcode = Opcode::writev, .address = parts.data(), .length = 2};
    for (auto* request : {&whole, &vector}) {
        check::equal(carry_out(*request, file.get(), false, 0), 4);
        check::equal(carry_out(*request, pipe.writer(), true, 0), 4);
    }
    whole = {.opcode = Opcode::read, .address = read.data(), .length = 4};
    vector = {.opcode = Opcode::readv, .address = places.data(), .length = 2};
    check::equal(carry_out(whole, file.get(), false, 0), 4);
    check::equal(read, "abcd");
    check::equal(carry_out(vector, file.get(), false, 0), 4);
    check::equal(read, "cdab");
    check::equal(carry_out(whole, pipe.reader(), true, 0), 4);
    check::equal(read, "abcd");
    check::equal(carry_out(vector, pipe.reader(), true, 0), 4);
    check::equal(read, "cdab");
}

// The calls with flags are younger than some kernels, and not granted by every sandbox.
template <int error>
void test_without_flags() {
    std::thread([] {
        sandbox::refuse(__NR_preadv2, error);
        sandbox::refuse(__NR_pwritev2, error);
        transfer_everything();
        const auto file = fixtures::memory_file("data");
        char byte = 0;
        const engine::OperationData look{.opcode = Opcode::read, .address = &byte, .length = 1};
        check::equal(carry_out(look, file.get(), false, RWF_NOWAIT), -EOPNOTSUPP);
        auto flagged = look;
        flagged.rw_flags = RWF_DSYNC;
        check::equal(carry_out(flagged, file.get(), false, 0), -error);
    }).join();
}

}  // namespace

int main() {
    return check::run({
        {"polls", test_polls},
        {"all that is transferred", transfer_everything},
        {"no flags: ENOSYS", test_without_flags<ENOSYS>},
        {"no flags: EPERM", test_without_flags<EPERM>},
    });
}
