// SPDX-License-Identifier: Apache-2.0
// What a C++ test needs of a framework: checks that say where they failed, and a runner.
//
// A check that fails is noted, and the test goes on. Checks may be made by any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdlib>
#include <exception>
#include <future>
#include <initializer_list>
#include <iostream>
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace check {

using Where = std::source_location;

struct Test {
    std::string_view name;
    void (*run)();
};

// Thrown, with the reason, by a test that can't run here.
struct Skipped : std::runtime_error {
    using runtime_error::runtime_error;
};

// The exit status that Meson takes for "skipped".
inline constexpr int skipped_status = 77;

// Longer than anything here takes on a busy machine, shorter than Meson's time limit for a test.
inline constexpr std::chrono::seconds patience{20};

inline std::atomic<int> failures{0};

inline void fail(std::string_view what, Where where = Where::current()) {
    ++failures;
    std::ostringstream line;
    line << where.file_name() << ':' << where.line() << ": " << what << '\n';
    std::cout << line.str();  // at once, so that lines of several threads don't mix
}

inline void is_true(bool condition, std::string_view what, Where where = Where::current()) {
    if (!condition) {
        fail(what, where);
    }
}

template <class Value>
concept Integer = std::integral<Value> && !std::same_as<Value, bool>;

template <class Actual, class Expected>
void equal(const Actual& actual, const Expected& expected, Where where = Where::current()) {
    bool same = false;
    if constexpr (Integer<Actual> && Integer<Expected>) {
        same = std::cmp_equal(actual, expected);
    } else {
        same = actual == expected;
    }
    if (!same) {
        std::ostringstream what;
        what << actual << " instead of " << expected;
        fail(what.str(), where);
    }
}

// The value of a future. A thread that hangs can't be ended, so the process is.
template <class Value>
Value get(std::future<Value>& future, Where where = Where::current()) {
    if (future.wait_for(patience) != std::future_status::ready) {
        fail("a thread hangs", where);
        std::_Exit(EXIT_FAILURE);
    }
    return future.get();
}

// False if the test was skipped.
inline bool run(const Test& test) {
    const int failures_before = failures;
    try {
        test.run();
    } catch (const Skipped& skipped) {
        std::cout << "skipped: " << test.name << ": " << skipped.what() << '\n';
        return false;
    } catch (const std::exception& error) {
        fail(error.what());
    }
    std::cout << (failures == failures_before ? "ok: " : "FAILED: ") << test.name << '\n';
    return true;
}

// The exit status of a program of these tests.
inline int run(std::initializer_list<Test> tests) {
    std::cout << std::unitbuf;  // a test may crash
    const auto count = std::ranges::count_if(tests, [](const Test& test) { return run(test); });
    if (failures != 0) {
        return EXIT_FAILURE;
    }
    return count != 0 ? EXIT_SUCCESS : skipped_status;
}

}  // namespace check
