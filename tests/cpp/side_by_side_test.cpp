// SPDX-License-Identifier: Apache-2.0
#include "engine/side_by_side.hpp"

#include "check.hpp"

namespace {

using engine::SideBySide;

void send(SideBySide& reads, int count) {
    for (int i = 0; i < count; ++i) {
        reads.note_sent();
    }
}

void take_back(SideBySide& reads, int count) {
    for (int i = 0; i < count; ++i) {
        reads.note_returned();
    }
}

void test_few() {
    SideBySide reads;
    check::is_true(!reads.is_faster(1), "one");
    check::is_true(!reads.is_faster(8), "some");
    send(reads, 4);
    check::is_true(!reads.is_faster(4), "some, and others in flight");
}

void test_many_in_one_submission() {
    SideBySide reads;
    check::is_true(reads.is_faster(32), "many");
}

void test_many_in_flight() {
    SideBySide reads;
    send(reads, 10);
    check::is_true(reads.is_faster(1), "one beside many");
}

void test_until_few_are_left() {
    SideBySide reads;
    check::is_true(reads.is_faster(32), "many");
    send(reads, 32);
    take_back(reads, 27);
    check::is_true(reads.is_faster(1), "some are left");
    take_back(reads, 4);
    check::is_true(!reads.is_faster(1), "one is left");
    send(reads, 4);
    check::is_true(!reads.is_faster(1), "some, after few");
}

}  // namespace

int main() {
    return check::run({
        {"few", test_few},
        {"many in one submission", test_many_in_one_submission},
        {"many in flight", test_many_in_flight},
        {"until few are left", test_until_few_are_left},
    });
}
