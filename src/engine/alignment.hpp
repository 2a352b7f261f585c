// SPDX-License-Identifier: Apache-2.0
// What O_DIRECT asks of memory, offsets and lengths.
#pragma once

#include <cstddef>
#include <cstdint>

namespace engine {

// In bytes; 1: any.
struct Alignment {
    std::uint32_t memory = 1;
    std::uint32_t transfer = 1;  // offset and length
};

// What direct I/O on the file needs, whether or not it was opened for it. Returns an errno, 0 if
// all is well.
int find_alignment(int fd, Alignment& alignment) noexcept;

// Whether the file was opened with O_DIRECT; false too if it is not open.
bool is_direct(int fd) noexcept;

// The same, asked once for files that follow each other, while no other code runs.
class DirectFiles {
public:
    bool is_direct(int fd) noexcept;

private:
    int last_fd_ = -1;
    bool last_answer_ = false;
};

// An aligned range around `length` bytes at `offset`, or at the end of all offsets as much of it as
// there can be. Around nothing there is nothing.
struct Range {
    std::uint64_t offset = 0;
    std::size_t length = 0;
};
Range widen(Range range, std::uint32_t alignment) noexcept;

// How much of an aligned range is worth reading at once: where the kernel knows the end of the file
// by itself, no more than up to that. Of small ranges all of it, without asking.
std::size_t clip_to_file(int fd, Range range, std::uint32_t alignment) noexcept;

}  // namespace engine
