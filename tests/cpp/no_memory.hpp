// SPDX-License-Identifier: Apache-2.0
// Replaces the operators new and delete of the program that includes it, once, so that a test can
// have allocations fail.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace no_memory {

enum class Whose { nobodys, this_threads, others };

inline std::atomic<Whose> whose = Whose::nobodys;
inline std::atomic<unsigned> granted = 0;  // before they fail
inline thread_local bool is_the_tests = false;

inline bool is_refused() noexcept {
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

// For its life, allocations of this thread, or of all others, fail after so many that don't.
class Refused {
public:
    explicit Refused(Whose refused, unsigned granted_first = 0) {
        is_the_tests = true;
        granted = granted_first;
        whose = refused;
    }
    Refused(const Refused&) = delete;
    Refused& operator=(const Refused&) = delete;
    ~Refused() {
        whose = Whose::nobodys;
        is_the_tests = false;
    }
};

}  // namespace no_memory

// Where g++ inlines only one of a pair, it warns that they do not match.

[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    return no_memory::is_refused() ? nullptr : std::malloc(size != 0 ? size : 1);
}

[[gnu::noinline]] void* operator new(std::size_t size) {
    void* memory = operator new(size, std::nothrow);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

// Those of arrays call these, but not where a sanitizer has its own.
[[gnu::noinline]] void* operator new[](std::size_t size) { return operator new(size); }
[[gnu::noinline]] void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept {
    return operator new(size, tag);
}

[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept {
    std::free(memory);
}
