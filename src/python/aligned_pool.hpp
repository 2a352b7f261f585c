// SPDX-License-Identifier: Apache-2.0
// A pool of aligned memory for direct reads. Blocks of finished reads are kept for later ones,
// because allocating an aligned block costs as much as all our other work for such a read.
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

// Keeps blocks of the sizes that programs commonly read: powers of two from one page to 128 KiB.
// Keeps at most 256 KiB of each size.
class AlignedPool {
public:
    // Returns memory of at least `size` bytes at a multiple of `alignment`, a power of two. The
    // result is empty if there is no memory.
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

    // Takes back memory that is no longer used. The memory need not come from this pool.
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
