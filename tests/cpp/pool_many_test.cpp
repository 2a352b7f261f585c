// SPDX-License-Identifier: Apache-2.0
// Threads of ours, with each reactor: many requests of several threads at once, of all kinds, some
// cancelled, reaped by several others.
#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"
#include "pool_fixtures.hpp"

namespace {

using engine::Completion;
using engine::Opcode;
using engine::Request;
using engine::UniqueFd;
using pool_fixtures::make_eventfd;
using pool_fixtures::nothing_more;
using pool_fixtures::open;
using pool_fixtures::part_of;
using pool_fixtures::submit_all;
using pool_fixtures::sync_request;
using pool_fixtures::value_of;
using pool_fixtures::vector_request;
using std::chrono::milliseconds;

// What one of several threads asks for.
class Share {
public:
    Share(unsigned seed, std::size_t size, std::size_t first_place)
        : random_(seed), first_place_(first_place), memory_(2 * size, '.'), parts_(2 * size) {
        requests_.reserve(size);
        was_cancelled_.resize(size);
        was_to_be_cancelled_.resize(size);
    }

    struct Files {
        std::string contents = std::string(1000, 'r');
        UniqueFd input = fixtures::memory_file(contents);
        UniqueFd output = fixtures::memory_file("");
        fixtures::Pipe ready;
        std::array<UniqueFd, 3> signals{make_eventfd(), make_eventfd(), make_eventfd()};
    };

    void make(const Files& files) {
        for (std::size_t i = 0; i < was_cancelled_.size(); ++i) {
            requests_.push_back(make_request(files, i));
            auto& request = requests_.back();
            request.is_brief = draw(2) == 0;
            if (const auto signal = draw(4); signal != 0) {
                request.eventfd = files.signals[signal - 1].get();
            }
        }
    }

    void submit(engine::Engine& engine) {
        for (std::size_t done = 0; done < requests_.size();) {
            const auto size = std::min(1 + draw(64), requests_.size() - done);
            const auto submission = submit_all(engine, std::span(requests_).subspan(done, size));
            check::equal(submission.error, 0);
            if (submission.taken == 0) {
                return;
            }
            done += submission.taken;
            const auto victim = done - 1 - draw(std::min<std::size_t>(done, 16));
            was_to_be_cancelled_[victim] = true;
            was_cancelled_[victim] = engine.cancel(requests_[victim]) || was_cancelled_[victim];
        }
    }

    std::span<const Request> requests() const { return requests_; }

    void check_result(std::size_t i, std::int64_t result) const {
        const auto& request = requests_[i];
        if (result == -ECANCELED) {
            check::is_true(was_to_be_cancelled_[i], "it was cancelled by somebody");
            return;
        }
        check::is_true(!was_cancelled_[i], "what was cancelled ends so");
        check::equal(result, expected_result(request.opcode));
        if (is_read(request.opcode)) {
            check::equal(std::string_view(memory_).substr(2 * i, 2), "rr");
        }
    }

private:
    static int expected_result(Opcode opcode) {
        if (opcode == Opcode::poll) {
            return POLLIN;
        }
        return transfers_data(opcode) ? 2 : 0;
    }

    std::size_t draw(std::size_t choices) { return random_() % choices; }

    Request make_request(const Files& files, std::size_t i) {
        const auto memory = std::span(memory_).subspan(2 * i, 2);
        switch (draw(8)) {
            case 0:
                return fixtures::poll_request(files.ready.reader());
            case 1:
                return sync_request(files.output.get());
            case 2:
                return fixtures::write_request(files.output.get(), {memory.data(), 2},
                                               first_place_ + 2 * i);
            case 3: {
                const auto parts = std::span(parts_).subspan(2 * i, 2);
                parts[0] = part_of(memory_, 2 * i + 1, 1);
                parts[1] = part_of(memory_, 2 * i, 1);
                return vector_request(Opcode::readv, files.input.get(), parts, draw(900));
            }
            default:
                return fixtures::read_request(files.input.get(), memory, draw(900));
        }
    }

    std::minstd_rand random_;
    std::size_t first_place_;
    std::string memory_;
    std::vector<iovec> parts_;
    std::vector<Request> requests_;
    std::vector<bool> was_cancelled_;
    std::vector<bool> was_to_be_cancelled_;
};

// How often each completed, and how, whoever reaped it.
class Tally {
public:
    void collect(engine::Engine& engine, std::size_t count) {
        const auto deadline = std::chrono::steady_clock::now() + check::patience;
        while (total_ < count && std::chrono::steady_clock::now() < deadline) {
            std::array<Completion, 20> completions;
            const auto ticket = engine.ticket();
            const auto reaped = engine.reap(completions);
            note(std::span(completions).first(reaped));
            if (reaped == 0 && total_ < count) {
                engine.wait(ticket, milliseconds(100));
            }
        }
    }

    std::size_t total() const { return total_; }

    const std::vector<std::int64_t>& results_of(const Request& request) {
        return results_[&request];
    }

private:
    void note(std::span<const Completion> completions) {
        const std::lock_guard lock(mutex_);
        for (const auto& completion : completions) {
            results_[completion.request].push_back(completion.result);
        }
        total_ += completions.size();
    }

    std::mutex mutex_;
    std::atomic<std::size_t> total_ = 0;
    std::unordered_map<const Request*, std::vector<std::int64_t>> results_;
};

void check_share(const Share& share, Tally& tally) {
    for (std::size_t i = 0; i < share.requests().size(); ++i) {
        const auto& results = tally.results_of(share.requests()[i]);
        check::equal(results.size(), 1);
        if (results.size() == 1) {
            share.check_result(i, results[0]);
        }
    }
}

std::uint64_t count_signals(std::span<const std::unique_ptr<Share>> shares, int eventfd) {
    std::uint64_t count = 0;
    for (const auto& share : shares) {
        count += static_cast<std::uint64_t>(
            std::ranges::count(share->requests(), eventfd, &Request::eventfd));
    }
    return count;
}

void test_many_at_once() {
    constexpr std::size_t size = 1500;
    Share::Files files;
    files.ready.put_byte();
    std::vector<std::unique_ptr<Share>> shares;
    for (unsigned i = 0; i < 4; ++i) {
        shares.push_back(std::make_unique<Share>(i + 1, size, 2 * size * i));
        shares.back()->make(files);
    }
    Tally tally;
    auto engine = open();
    std::vector<std::thread> threads;
    threads.reserve(shares.size() + 2);
    for (const auto& share : shares) {
        threads.emplace_back([&] { share->submit(*engine); });
    }
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] { tally.collect(*engine, size * shares.size()); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    nothing_more(*engine);
    check::equal(tally.total(), size * shares.size());
    engine.reset();  // nobody signals from now on
    for (const auto& share : shares) {
        check_share(*share, tally);
    }
    for (const auto& signal : files.signals) {
        check::equal(value_of(signal.get()), count_signals(shares, signal.get()));
    }
}

}  // namespace

int main() {
    return pool_fixtures::run_with_each_kind({
        {"many at once", test_many_at_once},
    });
}
