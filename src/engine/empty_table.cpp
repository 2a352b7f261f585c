// SPDX-License-Identifier: Apache-2.0
// The kernel makes no table without copies of the lowest numbers, as many as a word has bits
// (NR_OPEN_DEFAULT), and each of these copies has to be closed. A descriptor that is kept and is
// not among them is fetched with pidfd_getfd(2). Where a sandbox refuses that, all numbers up to it
// are copied.
#include "engine/empty_table.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "engine/clofork_fd.hpp"
#include "engine/descriptor_limit.hpp"
#include "engine/file_flush.hpp"

namespace engine {
namespace {

// <linux/close_range.h>'s, which is younger than some systems' headers.
constexpr unsigned close_range_unshare = 1U << 1U;

// How many descriptors a 64-bit kernel copies at least (NR_OPEN_DEFAULT). A 32-bit one copies 32.
constexpr int fewest_copied = 64;

int copy_table(int first_not_copied) noexcept {
#ifdef __NR_close_range
    return static_cast<int>(syscall(__NR_close_range, static_cast<unsigned>(first_not_copied), ~0U,
                                    close_range_unshare));
#else
    errno = ENOSYS;
    return -1;
#endif
}

// Makes a new descriptor of the file that the process's first thread has under this number. Returns
// it, or -1.
int fetch(int number) noexcept {
#if defined(__NR_pidfd_open) && defined(__NR_pidfd_getfd)
    const auto process = static_cast<int>(syscall(__NR_pidfd_open, getpid(), 0));
    if (process < 0) {
        return -1;
    }
    const auto fetched = static_cast<int>(syscall(__NR_pidfd_getfd, process, number, 0));
    const int error = errno;
    close(process);
    errno = error;
    return fetched;
#else
    errno = ENOSYS;
    return -1;
#endif
}

bool are_same_inode(int left, int right) noexcept {
    struct stat one{};
    struct stat other{};
    return fstat(left, &one) == 0 && fstat(right, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

// Whether fetch() works. It fails in some sandboxes, and if the first thread of the process has
// ended or has another table than the calling thread.
bool can_fetch(int number) noexcept {
    if (static_cast<std::uint64_t>(number) >= descriptor_limit()) {
        return false;
    }
    CloforkFd fetched;
    {
        const ForkBarrier barrier;
        fetched.adopt(fetch(number), barrier);
    }
    return fetched.is_open() && are_same_inode(fetched.get(), number);
}

// After can_fetch() it only fails while the whole system has no file left.
void fetch_to(int number) noexcept {
    int fetched = fetch(number);
    while (fetched < 0) {
        const timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
        nanosleep(&pause, nullptr);
        fetched = fetch(number);
    }
    if (fetched != number) {
        dup3(fetched, number, O_CLOEXEC);
        close(fetched);
    }
}

}  // namespace

bool enter_empty_table(std::span<const int> kept) noexcept {
    const auto is_kept = [kept](int fd) { return std::ranges::find(kept, fd) != kept.end(); };
    const int all = std::max(std::ranges::max(kept) + 1, fewest_copied);
    const bool fetches = all > fewest_copied && can_fetch(kept.front());
    const int copied = fetches ? fewest_copied : all;
    MountTable mounts;
    for (int fd = 0; fd < copied; ++fd) {
        if (!is_kept(fd) && may_flush(fd, mounts)) {
            return false;
        }
    }
    if (copy_table(copied) != 0) {
        return false;
    }
    for (int fd = 0; fd < copied; ++fd) {
        // A file that another thread has opened since we looked may stay open: to close it might
        // wait.
        if (!is_kept(fd) && !may_flush(fd, mounts)) {
            close(fd);
        }
    }
    for (const int fd : kept) {
        if (fd >= copied) {
            fetch_to(fd);
        }
    }
    return true;
}

}  // namespace engine
