// SPDX-License-Identifier: Apache-2.0
// Predicts, for a request to kernel AIO, whether io_submit(2) waits (for a disk, a pipe or a
// server), and whether the request is over when io_submit returns.
//
// Kernel AIO is asynchronous for direct I/O on a local file system, for syncs and for polls. Reads
// and writes through the page cache are carried out inside io_submit, and there only a file system
// in memory never waits. If a number is closed and opened again as another file, the answer may be
// stale for `lifetime`. A stale answer makes no request go wrong: it decides only whether the GIL
// is kept, and how the completion is announced.
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
