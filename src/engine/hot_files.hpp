// SPDX-License-Identifier: Apache-2.0
// Numbers of files whose last reads all came from memory. Reads of such a file are tried first and
// planned only if that fails.
//
// A number may belong to another file by now. So before code relies on an answer of this class, it
// asks the kernel for the facts that would do harm if they were stale. Safe for any number of
// threads, without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace engine {

class HotFiles {
public:
    enum class Memory : std::uint8_t { none, page_cache, file_system };

    // Returns where in memory the file's data is; `none` if the file is not hot.
    Memory find(int fd) const noexcept {
        if (fd < 0) {
            return Memory::none;
        }
        const auto value = place(fd).load(std::memory_order_relaxed);
        return value >> shift == fd ? static_cast<Memory>(value & mask) : Memory::none;
    }

    void add(int fd, Memory memory) noexcept {
        const auto value = std::int64_t{fd} << shift | static_cast<std::int64_t>(memory);
        if (place(fd).load(std::memory_order_relaxed) != value) {
            place(fd).store(value, std::memory_order_relaxed);
        }
    }

    void remove(int fd) noexcept {
        if (find(fd) != Memory::none) {
            place(fd).store(0, std::memory_order_relaxed);
        }
    }

    void clear() noexcept {
        for (auto& value : values_) {
            value.store(0, std::memory_order_relaxed);
        }
    }

private:
    using Value = std::atomic<std::int64_t>;  // the number and, in the lowest bits, Memory
    static constexpr int shift = 2;
    static constexpr std::int64_t mask = 3;

    Value& place(int fd) noexcept { return values_[static_cast<std::size_t>(fd) % values_.size()]; }
    const Value& place(int fd) const noexcept {
        return values_[static_cast<std::size_t>(fd) % values_.size()];
    }

    std::array<Value, 256> values_{};
};

}  // namespace engine
