// SPDX-License-Identifier: Apache-2.0
// What to expect of io_submit(2): whether it waits, for a disk, a pipe or a server on the network,
// and whether the request is over when it returns.
//
// Kernel AIO is asynchronous for direct I/O on a local file system, for syncs and for polls. Reads
// and writes through the page cache are done inside io_submit, where only a file system in memory
// never waits. The answer decides whether the GIL is kept and how a completion is told, not what is
// right: if a number is closed and opened again as another file, it may be stale for `lifetime`.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "engine/request.hpp"

namespace engine {

class SubmitClassifier {
public:
    Pace expect(const Request& request) noexcept;

private:
    enum class Medium : std::uint8_t { unknown, memory, disk };

    struct File {
        int fd = -1;
        std::int64_t checked_at = 0;  // ns of CLOCK_MONOTONIC_COARSE
        bool is_direct = false;
        Medium medium = Medium::unknown;
    };

    static File look_at(int fd) noexcept;

    std::mutex mutex_;
    std::array<File, 64> files_{};  // by fd modulo its size
};

}  // namespace engine
