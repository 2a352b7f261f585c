// SPDX-License-Identifier: Apache-2.0
#include "engine/adaptive_spin.hpp"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "check.hpp"

namespace {

using engine::AdaptiveSpin;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// After this it is worth it to spin, if there are several processors.
void be_brief(AdaptiveSpin& spin) {
    spin.count_processors();
    spin.note_work(microseconds(10));
    spin.note_idle(microseconds(80));
}

bool has_several_processors() {
    cpu_set_t processors;
    CPU_ZERO(&processors);
    return sched_getaffinity(0, sizeof processors, &processors) == 0 && CPU_COUNT(&processors) > 1;
}

void need_several_processors() {
    if (!has_several_processors()) {
        throw check::Skipped("needs several processors");
    }
}

void test_when() {
    need_several_processors();
    AdaptiveSpin spin;
    check::is_true(!spin.is_worth_it(), "at first");
    be_brief(spin);
    check::is_true(spin.is_worth_it(), "after brief work and a short rest");
    spin.note_work(milliseconds(1));
    check::is_true(!spin.is_worth_it(), "after long work");
    be_brief(spin);
    spin.note_idle(milliseconds(1));
    check::is_true(!spin.is_worth_it(), "after a long rest");
}

void test_failures() {
    need_several_processors();
    AdaptiveSpin spin;
    be_brief(spin);
    for (int i = 0; i < 3; ++i) {
        spin.note_spin(false);
    }
    spin.note_spin(true);
    for (int i = 0; i < 3; ++i) {
        spin.note_spin(false);
        check::is_true(spin.is_worth_it(), "after fewer than four failures in a row");
    }
    spin.note_spin(false);
    int pauses = 0;
    while (!spin.is_worth_it() && pauses < 1000) {
        ++pauses;
    }
    check::equal(pauses, 64);
}

void test_one_processor() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &one);
    std::thread([&one] {
        check::equal(sched_setaffinity(0, sizeof one, &one), 0);
        AdaptiveSpin spin;
        be_brief(spin);
        check::is_true(!spin.is_worth_it(), "with one processor");
    }).join();
}

void test_spin() {
    AdaptiveSpin spin;
    std::atomic<bool> has_news = false;
    spin.spin(has_news);  // ends by itself
    has_news = true;
    spin.spin(has_news);
}

}  // namespace

int main() {
    return check::run({
        {"when", test_when},
        {"failures", test_failures},
        {"one processor", test_one_processor},
        {"a spin", test_spin},
    });
}
