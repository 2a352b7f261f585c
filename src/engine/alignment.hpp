// SPDX-License-Identifier: Apache-2.0
// The alignment of memory, offsets and lengths that O_DIRECT demands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace engine {

// In bytes; 1: any.
struct Alignment {
    std::uint32_t memory = 1;
    std::uint32_t transfer = 1;  // offset and length
};

// Finds the alignment that direct I/O on the file needs, whether or not the file was opened for
// direct I/O. Returns 0 or an errno.
int find_alignment(int fd, Alignment& alignment) noexcept;

// Whether the file was opened with O_DIRECT. False if `fd` is not open.
bool is_direct(int fd) noexcept;

// Answers for several requests in a row, and asks the kernel only when the number differs from the
// one before. To be used only as long as no other code of the program runs.
class DirectFiles {
public:
    bool is_direct(int fd) noexcept;

    // Whether the file was opened with O_DIRECT, and may have a server.
    bool is_direct_with_server(int fd) noexcept;

private:
    int last_fd_ = -1;
    bool last_answer_ = false;
    std::optional<bool> has_server_;  // the last file, if that was asked
};

// The bytes from `offset` to `offset + length`. widen() returns the smallest aligned range around a
// range, cut off at the largest offset. The result is empty for an empty range.
struct Range {
    std::uint64_t offset = 0;
    std::size_t length = 0;
};
Range widen(Range range, std::uint32_t alignment) noexcept;

// How many bytes of an aligned range to read at once: no more than up to the end of the file, if
// the kernel knows that without asking a server. For a small range all of it, without asking the
// kernel.
std::size_t clip_to_file(int fd, Range range, std::uint32_t alignment) noexcept;

}  // namespace engine
