// SPDX-License-Identifier: Apache-2.0
#include "engine/program_eventfd.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include "engine/clofork_fd.hpp"
#include "engine/eventfd_check.hpp"
#include "engine/eventfd_signal.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

// Opens the program's file of this number in the calling thread's table. The kernel looks the
// number up in the table of the process's first thread.
UniqueFd open_here(int number) noexcept {
    const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
    return UniqueFd(process.is_open()
                        ? static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), number, 0))
                        : -1);
}

}  // namespace

bool reaches_program_eventfds(int number) noexcept { return open_here(number).is_open(); }

void signal_program_eventfd(int number, std::uint64_t count, bool may_block) noexcept {
    if (!CloforkFd::has_own_table()) {
        if (check_eventfd(number) == 0) {
            signal_any_eventfd(number, count, may_block);
        }
        return;
    }
    const auto eventfd = open_here(number);
    if (eventfd.is_open() && check_eventfd(eventfd.get()) == 0) {
        signal_any_eventfd(eventfd.get(), count, may_block);
    }
}

}  // namespace engine
