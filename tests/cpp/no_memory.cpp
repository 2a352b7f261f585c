// SPDX-License-Identifier: Apache-2.0
#include "no_memory.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace no_memory {
namespace {

bool is_refused() noexcept {
    const auto refused = whose.load();
    if (refused == Whose::nobodys || (refused == Whose::this_threads) != is_the_tests) {
        return false;
    }
    for (auto left = granted.load(); left != 0;) {
        if (granted.compare_exchange_weak(left, left - 1)) {
            return false;
        }
    }
    return true;
}

}  // namespace
}  // namespace no_memory

void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    return no_memory::is_refused() ? nullptr : std::malloc(size != 0 ? size : 1);
}

void* operator new(std::size_t size) {
    void* memory = operator new(size, std::nothrow);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

// Those of arrays call these, but not where a sanitizer has its own.
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept {
    return operator new(size, tag);
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept { std::free(memory); }
