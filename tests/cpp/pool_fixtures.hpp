// SPDX-License-Identifier: Apache-2.0
// The worker pools that are tested, as engines whose reactor can be stopped, and requests for them.
#pragma once

#include <sys/eventfd.h>
#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace pool_fixtures {

// --- the worker pools that are tested

// As check::run, with each reactor, and with workers beside it where it can do without.
int run_with_each_kind(std::initializer_list<check::Test> tests);

std::unique_ptr<engine::Engine> open();

// Whether workers carry out transfers.
bool has_workers();

// Of all engines.
int count_reactors();

// A poll that is in flight while the reactor comes to nothing.
class StoppedReactor {
public:
    explicit StoppedReactor(engine::Engine& engine);
    StoppedReactor(const StoppedReactor&) = delete;
    StoppedReactor& operator=(const StoppedReactor&) = delete;
    ~StoppedReactor() { go_on(); }

    static void go_on();
    const engine::Request& poll() const { return poll_; }

private:
    fixtures::Pipe ready_;
    engine::Request poll_ = fixtures::poll_request(ready_.reader());
};

// --- eventfds

engine::UniqueFd make_eventfd(int flags = EFD_NONBLOCK);

bool is_readable(int fd, std::chrono::milliseconds time = check::patience);

std::uint64_t value_of(int eventfd);

// What an eventfd was told, once it is as much as is expected.
std::uint64_t signals_of(int eventfd, std::uint64_t expected);

// --- files, requests and their results

engine::Request sync_request(int fd, engine::Opcode opcode = engine::Opcode::fsync);

engine::Request vector_request(engine::Opcode opcode, int fd, std::span<iovec> parts,
                               std::uint64_t offset);

iovec part_of(std::string& text, std::size_t offset, std::size_t size);

std::string contents_of(int fd);

engine::Submission submit_all(engine::Engine& engine, std::span<engine::Request> requests);

void nothing_more(engine::Engine& engine, check::Where where = check::Where::current());

std::int64_t result_of(engine::Engine& engine, const engine::Request& request,
                       check::Where where = check::Where::current());

// Whatever was submitted before has come to the reactor when this returns.
void go_through_reactor(engine::Engine& engine, check::Where where = check::Where::current());

// It waits: it is not over when it has come to the reactor.
void submit_to_wait(engine::Engine& engine, engine::Request& request,
                    check::Where where = check::Where::current());

using Results = std::unordered_map<const engine::Request*, std::int64_t>;

// Of the next completions, each of another request.
Results results_of(engine::Engine& engine, std::size_t count,
                   check::Where where = check::Where::current());

}  // namespace pool_fixtures
