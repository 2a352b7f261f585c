// SPDX-License-Identifier: Apache-2.0
// Who waits for a device takes turns with the others.
#include "engine/device_queues.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "engine/descriptor_table.hpp"
#include "engine/pool_client.hpp"

namespace {

using engine::DeviceQueues;
using engine::FileRef;
using engine::PoolClient;
using engine::Request;

constexpr std::uint64_t device = 7;

// Requests of a device that is busy.
struct Fixture {
    DeviceQueues queues{1};
    PoolClient busy_client;
    Request busy;
    std::array<PoolClient, 12> clients;
    std::array<FileRef, 12> files;
    std::vector<Request> requests{100};
    std::size_t used = 0;

    Fixture() {
        busy.client = &busy_client;
        check::is_true(queues.enter(busy, device), "the first is at work");
    }

    Request& wait(std::size_t client, std::size_t file) {
        auto& request = requests[used++];
        request.client = &clients[client];
        request.file = &files[file];
        check::is_true(!queues.enter(request, device), "it waits");
        return request;
    }

    // Where each of those that waited was among them.
    std::vector<std::size_t> order() {
        std::vector<std::size_t> found;
        while (auto* next = queues.leave(busy.device_place)) {
            check::is_true(next->device_queues == nullptr, "it no longer waits");
            found.push_back(static_cast<std::size_t>(next - requests.data()));
        }
        check::equal(queues.at_work(device), 0U);
        return found;
    }
};

void expect(const std::vector<std::size_t>& found, const std::vector<std::size_t>& expected) {
    check::is_true(found == expected, "their order");
}

void test_one_file() {
    Fixture fixture;
    for (int i = 0; i < 3; ++i) {
        fixture.wait(0, 0);
    }
    expect(fixture.order(), {0, 1, 2});
}

void test_clients() {
    Fixture fixture;
    fixture.wait(0, 0);  // 0 to 2
    fixture.wait(0, 0);
    fixture.wait(0, 0);
    fixture.wait(1, 0);  // 3 and 4
    fixture.wait(1, 0);
    fixture.wait(2, 0);
    expect(fixture.order(), {0, 3, 5, 1, 4, 2});
}

void test_files() {
    Fixture fixture;
    fixture.wait(0, 0);  // 0 to 2
    fixture.wait(0, 0);
    fixture.wait(0, 0);
    fixture.wait(0, 1);  // 3
    fixture.wait(1, 0);  // 4: another client's has as many turns as both files
    fixture.wait(1, 0);
    expect(fixture.order(), {0, 4, 3, 5, 1, 2});
}

void test_more_than_have_turns_of_their_own() {
    Fixture fixture;
    for (std::size_t i = 0; i < fixture.clients.size(); ++i) {
        fixture.wait(i, i);
        fixture.wait(i, 0);
    }
    auto found = fixture.order();
    check::equal(found.size(), 2 * fixture.clients.size());
    std::ranges::sort(found);
    for (std::size_t i = 0; i < found.size(); ++i) {
        check::equal(found[i], i);
    }
}

void test_one_that_waits_no_longer() {
    Fixture fixture;
    auto& first = fixture.wait(0, 0);
    fixture.wait(0, 0);
    auto& alone = fixture.wait(1, 0);
    fixture.wait(2, 0);
    fixture.queues.remove(first);
    fixture.queues.remove(alone);
    expect(fixture.order(), {1, 3});
}

}  // namespace

int main() {
    return check::run({
        {"one file's in order", test_one_file},
        {"clients take turns", test_clients},
        {"files of a client take turns", test_files},
        {"more than have turns of their own", test_more_than_have_turns_of_their_own},
        {"one that waits no longer", test_one_that_waits_no_longer},
    });
}
