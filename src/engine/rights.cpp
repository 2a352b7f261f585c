// SPDX-License-Identifier: Apache-2.0
#include "engine/rights.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/kcmp.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <new>
#include <span>

namespace engine {
namespace {

std::uint64_t digest_of_groups() noexcept {
    std::array<gid_t, 64> few;
    std::unique_ptr<gid_t[]> many;
    std::span<gid_t> groups(few);
    int count = getgroups(static_cast<int>(groups.size()), groups.data());
    if (count < 0) {  // there are more
        const auto size = static_cast<std::size_t>(std::max(getgroups(0, nullptr), 0));
        many.reset(new (std::nothrow) gid_t[size]);
        groups = {many.get(), many != nullptr ? size : 0};
        count = many != nullptr ? getgroups(static_cast<int>(size), groups.data()) : -1;
    }
    if (count < 0) {
        return ~std::uint64_t{0};  // not known: never equal to another thread's
    }
    std::uint64_t digest = 0xcbf29ce484222325;  // FNV-1a
    for (const auto group : groups.first(static_cast<std::size_t>(count))) {
        digest = (digest ^ group) * 0x100000001b3;
    }
    return digest;
}

std::array<std::uint32_t, 6> capabilities_of_this_thread() noexcept {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> data{};
    syscall(__NR_capget, &header, data.data());
    return {data[0].effective, data[0].permitted, data[0].inheritable,
            data[1].effective, data[1].permitted, data[1].inheritable};
}

struct Place {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    bool operator==(const Place&) const = default;
};

// Finds where one of a thread's links of proc(5) leads. False if that can't be found out.
bool find(pid_t thread, const char* link, Place& place) noexcept {
    std::array<char, 64> path;
    std::snprintf(path.data(), path.size(), "/proc/self/task/%d/%s", static_cast<int>(thread),
                  link);
    struct statx status{};
    if (statx(AT_FDCWD, path.data(), AT_STATX_DONT_SYNC, STATX_INO, &status) != 0) {
        return false;
    }
    place = {.device = std::uint64_t{status.stx_dev_major} << 32U | status.stx_dev_minor,
             .inode = status.stx_ino};
    return true;
}

bool are_in_same_place(pid_t left, pid_t right) noexcept {
    return std::ranges::all_of(std::array{"root", "cwd", "ns/mnt"}, [&](const char* link) {
        Place of_left;
        Place of_right;
        return find(left, link, of_left) && find(right, link, of_right) && of_left == of_right;
    });
}

// Whether two threads share root and working directory. This is one system call, where it is
// allowed. Such threads are in one mount namespace: unshare(2) and setns(2) see to that.
bool share_file_system(pid_t left, pid_t right) noexcept {
    const long order = syscall(__NR_kcmp, left, right, KCMP_FS, 0, 0);
    return order == 0 || (order < 0 && errno != ESRCH && are_in_same_place(left, right));
}

}  // namespace

Rights Rights::of_this_thread() noexcept {
    Rights rights{.thread = static_cast<pid_t>(syscall(__NR_gettid))};
    uid_t real_user = 0;
    uid_t user = 0;
    uid_t saved_user = 0;
    gid_t real_group = 0;
    gid_t group = 0;
    gid_t saved_group = 0;
    getresuid(&real_user, &user, &saved_user);
    getresgid(&real_group, &group, &saved_group);
    // with an invalid user, the call changes nothing and returns the present one
    const auto files_user = static_cast<std::uint32_t>(setfsuid(static_cast<uid_t>(-1)));
    const auto files_group = static_cast<std::uint32_t>(setfsgid(static_cast<gid_t>(-1)));
    rights.ids = {real_user,  user,  saved_user,  files_user,
                  real_group, group, saved_group, files_group};
    rights.groups = digest_of_groups();
    rights.capabilities = capabilities_of_this_thread();
    rights.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    rights.seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
    return rights;
}

bool Rights::allow_the_same(const Rights& other) const noexcept {
    return ids == other.ids && groups == other.groups && groups != ~std::uint64_t{0} &&
           capabilities == other.capabilities && no_new_privs == other.no_new_privs &&
           seccomp == other.seccomp &&
           (thread == other.thread || share_file_system(thread, other.thread));
}

}  // namespace engine
