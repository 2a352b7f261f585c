// SPDX-License-Identifier: Apache-2.0
// System calls that are refused to the calling thread, and to those that it starts from then on.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace sandbox {

namespace detail {

constexpr auto load(std::size_t offset) {
    return sock_filter(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
}
constexpr auto give(std::uint32_t value) { return sock_filter(BPF_STMT(BPF_RET | BPF_K, value)); }
constexpr auto skip_unless(std::uint32_t value, std::uint8_t count) {
    return sock_filter(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count));
}

template <std::size_t size>
void install(std::array<sock_filter, size>& program) noexcept {
    const sock_fprog filter{.len = size, .filter = program.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        std::perror("prctl(2)");
        std::abort();  // what comes then would show nothing
    }
}

}  // namespace detail

// For ever.
inline void refuse(long call, int error) noexcept {
    using namespace detail;
    std::array program{
        load(offsetof(seccomp_data, nr)), skip_unless(static_cast<std::uint32_t>(call), 1),
        give(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)), give(SECCOMP_RET_ALLOW)};
    install(program);
}

// Only where the low-order half of one of the arguments, which count from 0, has this value.
inline void refuse_if(long call, std::size_t argument, std::uint32_t value, int error) noexcept {
    using namespace detail;
    constexpr bool is_big = std::endian::native == std::endian::big;
    const auto place = offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t) +
                       (is_big ? sizeof(std::uint32_t) : 0);
    std::array program{load(offsetof(seccomp_data, nr)),
                       skip_unless(static_cast<std::uint32_t>(call), 3),
                       load(place),
                       skip_unless(value, 1),
                       give(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)),
                       give(SECCOMP_RET_ALLOW)};
    install(program);
}

}  // namespace sandbox
