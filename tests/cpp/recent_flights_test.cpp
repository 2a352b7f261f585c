// SPDX-License-Identifier: Apache-2.0
#include "python/recent_flights.hpp"

#include <chrono>

#include "check.hpp"

namespace {

using python::RecentFlights;
using std::chrono::milliseconds;

void test_what_hangs_does_not_count() {
    RecentFlights flights;
    auto now = RecentFlights::Clock::now();
    flights.advance(now);
    const auto first = flights.begin();
    for (int i = 1; i < 500; ++i) {
        flights.begin();
    }
    check::equal(flights.count(), 500);  // at first
    flights.advance(now += milliseconds(1));
    check::equal(flights.count(), 500);  // in the same period
    flights.advance(now += milliseconds(200));
    check::equal(flights.count(), 500);  // in the next period
    const auto second = flights.begin();
    flights.end(first);
    check::equal(flights.count(), 500);  // one ended that began a period ago
    flights.advance(now += milliseconds(200));
    check::equal(flights.count(), 1);  // two periods later
    flights.end(first);
    check::equal(flights.count(), 1);  // one ended that hung
    flights.end(second);
    check::equal(flights.count(), 0);  // all recent ones ended
}

}  // namespace

int main() {
    return check::run({
        {"what hangs does not count", test_what_hangs_does_not_count},
    });
}
