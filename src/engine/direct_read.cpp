// SPDX-License-Identifier: Apache-2.0
#include "engine/direct_read.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/aligned_memory.hpp"
#include "engine/alignment.hpp"

namespace engine {
namespace {

// Large enough to have a disk busy, small enough to stay in a processor's cache for the copy.
constexpr std::size_t most_at_once = std::size_t{2} << 20U;

}  // namespace

std::int64_t read_through_aligned_memory(const OperationData& operation, const Target& target,
                                         CarryOut read_part) noexcept {
    Alignment alignment;
    if (const int error = find_alignment(target.fd, alignment); error != 0) {
        return -error;
    }
    const auto whole =
        widen({.offset = operation.offset, .length = operation.length}, alignment.transfer);
    const std::size_t page = 4096;
    auto memory = AlignedMemory::zeroed(
        std::clamp(whole.length, page, std::max<std::size_t>(most_at_once, alignment.transfer)),
        std::max<std::size_t>(page, alignment.memory));
    if (memory.data() == nullptr) {
        return -ENOMEM;
    }
    auto* to = static_cast<std::byte*>(operation.address);
    auto lead = static_cast<std::size_t>(operation.offset - whole.offset);
    std::size_t done = 0;  // of the aligned range
    std::size_t copied = 0;
    do {
        OperationData part = operation;
        part.is_aligned_later = false;
        part.address = memory.data();
        part.offset = whole.offset + done;
        part.length = std::min(whole.length - done, memory.size());
        auto result = read_part(part, target);
        while (result == -EINTR) {
            result = read_part(part, target);
        }
        if (result < 0) {
            return copied != 0 ? static_cast<std::int64_t>(copied) : result;
        }
        const auto there = static_cast<std::size_t>(result);
        if (there > lead) {
            const auto count = std::min(there - lead, operation.length - copied);
            std::memcpy(to + copied, memory.data() + lead, count);
            copied += count;
        }
        lead = 0;
        done += there;
        if (there < part.length) {
            break;  // the end of the file, or as far as the kernel came
        }
    } while (done < whole.length);
    return static_cast<std::int64_t>(copied);
}

}  // namespace engine
