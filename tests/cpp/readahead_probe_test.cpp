// SPDX-License-Identifier: Apache-2.0
#include "engine/readahead_probe.hpp"

#include <chrono>

#include "check.hpp"

namespace {

using engine::ReadaheadProbe;
using std::chrono::microseconds;

void send(ReadaheadProbe& starter, int count) {
    for (int i = 0; i < count; ++i) {
        starter.note_sent();
    }
}

void take_back(ReadaheadProbe& starter, int count) {
    for (int i = 0; i < count; ++i) {
        starter.note_returned();
    }
}

void test_alone() {
    ReadaheadProbe starter;
    check::is_true(!starter.is_needed(0), "at first");
    for (int i = 0; i < 10; ++i) {
        send(starter, 1);
        check::is_true(!starter.is_needed(0), "beside one other");
        take_back(starter, 1);
        check::is_true(!starter.is_needed(0), "after one at a time");
    }
}

void test_several() {
    ReadaheadProbe starter;
    send(starter, 8);
    check::is_true(starter.is_needed(0), "beside several");
    take_back(starter, 8);
    check::is_true(starter.is_needed(0), "after several, when there is none");
    send(starter, 1);
    check::is_true(starter.is_needed(0), "after several, beside the next one");
    take_back(starter, 1);
    check::is_true(!starter.is_needed(0), "after one");
}

void test_a_disk_with_enough_to_do() {
    ReadaheadProbe starter;
    send(starter, 31);
    check::is_true(starter.is_needed(0), "beside 31");
    send(starter, 1);
    check::is_true(!starter.is_needed(0), "beside 32");
    take_back(starter, 1);
    check::is_true(starter.is_needed(0), "beside 31 again");
}

void test_a_thread_with_enough_to_do() {
    ReadaheadProbe starter;
    send(starter, 8);
    check::is_true(starter.is_needed(4), "a few were completed");
    check::is_true(!starter.is_needed(5), "more were completed");
    check::is_true(starter.is_needed(0), "none is left");
}

void test_a_slow_start() {
    ReadaheadProbe starter;
    send(starter, 8);
    starter.note_time(microseconds(100));
    check::is_true(starter.is_needed(0), "after a fast one");
    starter.note_time(microseconds(2000));
    int reads = 0;
    while (!starter.is_needed(0)) {
        ++reads;
    }
    check::equal(reads, 256);
    check::is_true(starter.is_needed(0), "after the rest");
}

}  // namespace

int main() {
    return check::run({
        {"alone", test_alone},
        {"several", test_several},
        {"a disk with enough to do", test_a_disk_with_enough_to_do},
        {"a thread with enough to do", test_a_thread_with_enough_to_do},
        {"a slow start", test_a_slow_start},
    });
}
