// SPDX-License-Identifier: Apache-2.0
// Allocations that fail when a test says so. In a program that is linked with no_memory.cpp, whose
// operators new and delete replace the standard ones.
#pragma once

#include <atomic>

namespace no_memory {

enum class Whose { nobodys, this_threads, others };

inline std::atomic<Whose> whose = Whose::nobodys;
inline std::atomic<unsigned> granted = 0;  // before they fail
inline thread_local bool is_the_tests = false;

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
