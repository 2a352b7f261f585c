// SPDX-License-Identifier: Apache-2.0
// What to expect of io_submit(2): whether it waits, for a disk, a pipe or a server on the network,
// and whether the request is over when it returns.
//
// Kernel AIO is asynchronous for direct I/O on a local file system, for syncs and for polls. Reads
// and writes through the page cache are done inside io_submit, where only a file system in memory
// never waits. The answer decides who may run meanwhile and how a completion is told, not what is
// right: if a number is closed and opened again as another file, it may be stale for `lifetime`.
//
// Asking must not block either, so no question goes to a server: statx(2) is told not to sync, and
// fstatfs(2) is left to learn(), which is called where blocking is allowed.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "engine/request.hpp"

namespace engine {

class PaceMaker {
public:
    Pace expect(const Request& request) noexcept;

    // Finds out what file system the request's file is on. May block.
    void learn(const Request& request) noexcept;

private:
    enum class Medium : std::uint8_t { unknown, memory, disk };

    struct File {
        int fd = -1;
        std::int64_t checked_at = 0;  // ns of CLOCK_MONOTONIC_COARSE
        bool is_direct = false;
        bool was_learnt = false;
        Medium medium = Medium::unknown;
    };

    File look_at(int fd) noexcept;
    Medium medium_of(std::uint64_t device) const noexcept;

    struct Device {
        std::uint64_t number = 0;
        Medium medium = Medium::unknown;
    };

    std::mutex mutex_;
    std::array<File, 64> files_{};      // by fd modulo its size
    std::array<Device, 16> devices_{};  // the last ones learnt
    std::size_t next_device_ = 0;
};

}  // namespace engine
