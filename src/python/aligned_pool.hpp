// SPDX-License-Identifier: Apache-2.0
// Aligned memory that direct reads have left, for those to come: getting a block from the allocator
// at such an address costs as much as all else that such a read needs of us.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/aligned_memory.hpp"
#include "python/refs.hpp"

namespace python {

// Blocks of the sizes that programs commonly read by: powers of two from a page on. Of each size no
// more than 256 KiB are kept.
class AlignedPool {
public:
    // At least so much, at a multiple of `alignment`, a power of two. Empty if there is no memory.
    engine::AlignedMemory take(std::size_t size, std::size_t alignment) noexcept {
        // Within whole pages, a block needs the kernel to pin no page more than it fills.
        size = std::max(size, page);
        if (!std::has_single_bit(size) || size > largest || alignment > page) {
            return {size, alignment};
        }
        auto& shelf = shelf_for(size);
        return shelf.count != 0 ? std::move(shelf.blocks[--shelf.count])
                                : engine::AlignedMemory(size, page);
    }

    // Memory that nobody uses any more, wherever it is from.
    void put(engine::AlignedMemory memory) noexcept {
        const auto size = memory.size();
        const bool fits = use && size >= page && size <= largest && std::has_single_bit(size) &&
                          reinterpret_cast<std::uintptr_t>(memory.data()) % page == 0;
        if (!fits) {
            return;
        }
        auto& shelf = shelf_for(size);
        if (shelf.count < most_bytes / size) {
            shelf.blocks[shelf.count++] = std::move(memory);
        }
    }

    void clear() noexcept { shelves_ = {}; }

private:
    // In free-threaded Python the pool would need a lock.
#ifdef Py_GIL_DISABLED
    static constexpr bool use = false;
#else
    static constexpr bool use = true;
#endif
    static constexpr std::size_t page = 4096;
    static constexpr std::size_t largest = std::size_t{128} * 1024;
    static constexpr std::size_t most_bytes = std::size_t{256} * 1024;

    struct Shelf {
        std::array<engine::AlignedMemory, most_bytes / page> blocks;
        std::size_t count = 0;
    };

    Shelf& shelf_for(std::size_t size) noexcept {
        return shelves_[static_cast<std::size_t>(std::countr_zero(size) - std::countr_zero(page))];
    }

    std::array<Shelf, std::countr_zero(largest / page) + 1> shelves_;
};

}  // namespace python
