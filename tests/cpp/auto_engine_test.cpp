// SPDX-License-Identifier: Apache-2.0
// Which way the engine `auto` gives to requests, as far as Python can't see it.
#include <fcntl.h>

#include <string>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::Reason;
using engine::Route;

std::unique_ptr<engine::Engine> make_auto() {
    int error = 0;
    auto engine = engine::open_engine("auto", 64, error);
    check::equal(error, 0);
    return engine;
}

// Such a read may take milliseconds: the next one must not wait for the same worker.
void test_what_cannot_be_told_not_to_wait() {
    const auto engine = make_auto();
    const engine::UniqueFd file(fixtures::succeeded(open("/proc/version", O_RDONLY | O_CLOEXEC)));
    std::string buffer(16, '.');
    auto read = fixtures::read_request(file.get(), buffer);
    check::equal(fixtures::complete(*engine, read), 16);
    check::equal(buffer.substr(0, 6), "Linux ");
    check::is_true(read.route == Route::workers, "by a worker");
    check::is_true(read.reason == Reason::unsupported, "since it knows no RWF_NOWAIT");
    check::is_true(!read.is_brief, "and may take long");
}

// One worker makes small copies without a switch between them; two make large ones in half the
// time.
void test_copies_to_memory() {
    const auto engine = make_auto();
    const auto file = fixtures::memory_file("");
    for (const std::size_t size : {std::size_t{4096}, std::size_t{1} << 20U}) {
        const std::string bytes(size, 'x');
        auto write = fixtures::write_request(file.get(), bytes);
        check::equal(fixtures::complete(*engine, write), static_cast<std::int64_t>(size));
        check::is_true(write.route == Route::workers, "by a worker");
        check::equal(write.is_brief, size == 4096);
    }
}

}  // namespace

int main() {
    return check::run({
        {"what can't be told not to wait", test_what_cannot_be_told_not_to_wait},
        {"copies to memory", test_copies_to_memory},
    });
}
