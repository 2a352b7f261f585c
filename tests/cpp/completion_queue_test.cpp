// SPDX-License-Identifier: Apache-2.0
// Completions that threads of ours push: each is reaped once, and nobody sleeps on.
#include "engine/completion_queue.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

#include "check.hpp"
#include "engine/finish_inside.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::Completion;
using engine::CompletionQueue;
using engine::Request;
using std::chrono::milliseconds;

class Bell final : public engine::Waker {
public:
    void wake() noexcept override { ++sounded; }
    std::atomic<int> sounded = 0;
};

void test_order() {
    CompletionQueue queue;
    std::array<Request, 5> requests;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        queue.push(requests[i], static_cast<std::int64_t>(i) - 2);
    }
    std::array<Completion, 3> some;
    check::equal(queue.reap(some), 3);
    check::is_true(some[0].request == requests.data(), "the first that was pushed comes first");
    check::equal(some[0].result, -2);
    check::equal(queue.reap(some), 2);
    check::equal(some[1].result, 2);
    check::equal(queue.reap(some), 0);
    check::equal(queue.reap({}), 0);
}

void test_many_at_once() {
    CompletionQueue queue;
    std::array<Request, 5> requests;
    queue.push(requests[0], 0);
    const auto ticket = queue.ticket();
    engine::RequestList list;
    for (std::size_t i = 1; i < 4; ++i) {
        requests[i].result = static_cast<std::int64_t>(i);
        list.push_back(requests[i]);
    }
    queue.push_all(list, 3);
    check::is_true(list.empty(), "the list is left empty");
    check::equal(queue.size(), 4);
    check::equal(queue.wait(ticket, std::nullopt), 0);  // a thread that waits is told
    queue.push(requests[4], 4);
    std::array<Completion, 6> all;
    check::equal(queue.reap(all), 5);
    for (std::size_t i = 0; i < 5; ++i) {
        check::is_true(all[i].request == &requests[i], "in the order of pushing");
        check::equal(all[i].result, static_cast<std::int64_t>(i));
    }
    list.push_back(requests[0]);
    queue.push_all(list, 1);  // to an empty queue
    check::equal(queue.reap(all), 1);
    check::equal(queue.size(), 0);
}

void test_waiting() {
    CompletionQueue queue;
    Request request;
    auto ticket = queue.ticket();
    check::equal(queue.wait(ticket, milliseconds(1)), ETIMEDOUT);
    queue.push(request, 0);
    check::equal(queue.wait(ticket, std::nullopt), 0);
    ticket = queue.ticket();
    Completion completion;
    queue.reap({&completion, 1});
    check::equal(queue.wait(ticket, std::nullopt), 0);  // somebody else may have waited for it
}

void test_waker() {
    CompletionQueue queue;
    Bell bell;
    std::array<Request, 3> requests;
    const auto ticket = queue.ticket();
    queue.push(requests[0], 0);
    check::is_true(!queue.listen(ticket, bell), "it has changed: there is no reason to sleep");
    check::equal(bell.sounded, 0);
    check::is_true(queue.listen(queue.ticket(), bell), "nothing has changed");
    queue.push(requests[1], 0);
    check::equal(bell.sounded, 1);
    queue.stop_listening();
    queue.push(requests[2], 0);
    check::equal(bell.sounded, 1);
}

// Several threads push, several wait and reap.
void test_each_comes_once() {
    constexpr std::size_t pushers = 3;
    constexpr std::size_t each = 20'000;
    CompletionQueue queue;
    constexpr std::size_t total = pushers * each;
    std::vector<Request> requests(total + 1);  // the last one tells of the end
    std::vector<std::atomic<int>> seen(requests.size());
    std::atomic<std::size_t> reaped = 0;
    const auto reap_all = [&] {
        while (reaped < total) {
            const auto ticket = queue.ticket();
            std::array<Completion, 7> completions;
            const auto count = queue.reap(completions);
            for (std::size_t i = 0; i < count; ++i) {
                ++seen[static_cast<std::size_t>(completions[i].request - requests.data())];
            }
            // The other one may have drawn its ticket after the last reap, and before this.
            if (count != 0) {
                const auto all = reaped += count;
                if (all == total) {
                    queue.push(requests.back(), 0);
                }
            } else if (reaped < total) {
                queue.wait(ticket, std::nullopt);
            }
        }
    };
    std::vector<std::thread> threads;
    for (std::size_t first = 0; first < total; first += each) {
        threads.emplace_back([&, first] {
            for (std::size_t i = first; i < first + each; ++i) {
                queue.push(requests[i], 1);
            }
        });
    }
    threads.emplace_back(reap_all);
    threads.emplace_back(reap_all);
    for (auto& thread : threads) {
        thread.join();
    }
    seen.back() = 1;
    check::is_true(std::ranges::all_of(seen, [](const auto& count) { return count == 1; }),
                   "each was reaped once");
}

// Whoever has reaped a request may give the number of its eventfd to another file.
void test_the_eventfd_is_not_used_afterwards() {
    constexpr int rounds = 20'000;
    CompletionQueue queue;
    const auto file = fixtures::memory_file("");
    const engine::UniqueFd signal(fixtures::succeeded(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
    const engine::UniqueFd number(fixtures::succeeded(dup(signal.get())));
    std::atomic<int> reaped = 0;
    std::thread reaper([&] {
        Completion completion;
        for (int count = 0; count < rounds; ++count) {
            while (queue.reap({&completion, 1}) == 0) {
                std::this_thread::yield();
            }
            dup2(file.get(), number.get());
            reaped = count + 1;
        }
    });
    for (int count = 0; count < rounds; ++count) {
        dup2(signal.get(), number.get());
        Request request{{.eventfd = number.get()}};
        engine::finish_inside(queue, request, 0);
        while (reaped != count + 1) {
            std::this_thread::yield();
        }
    }
    reaper.join();
    eventfd_t signals = 0;
    check::equal(eventfd_read(signal.get(), &signals), 0);
    check::equal(signals, rounds);
    check::equal(lseek(file.get(), 0, SEEK_END), 0);
}

}  // namespace

int main() {
    return check::run({
        {"in order", test_order},
        {"many at once", test_many_at_once},
        {"waiting", test_waiting},
        {"a waker", test_waker},
        {"each comes once", test_each_comes_once},
        {"the eventfd is not used afterwards", test_the_eventfd_is_not_used_afterwards},
    });
}
