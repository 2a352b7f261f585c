// SPDX-License-Identifier: Apache-2.0
// Memory is used up: what is asked for is refused with ENOMEM, and goes well once there is some.
#include "no_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "check.hpp"
#include "engine/alignment.hpp"
#include "engine/engine.hpp"
#include "fixtures.hpp"
#include "sandbox.hpp"

namespace {

using no_memory::Refused;
using no_memory::Whose;

#ifdef __NR_mmap2
constexpr long nr_mmap = __NR_mmap2;
#else
constexpr long nr_mmap = __NR_mmap;
#endif

std::unique_ptr<engine::Engine> open(std::string_view name) {
    int error = 0;
    auto engine = engine::open_engine(name, 8, error);
    check::equal(error, 0);
    return engine;
}

// The page that can't be written to is the process's: hence a process of its own.
void test_no_page() {
    const auto child = fixtures::succeeded(fork());
    if (child == 0) {
        sandbox::refuse_if(nr_mmap, 2, PROT_NONE, ENOMEM);
        int error = 0;
        const auto engine = engine::open_engine("aio", 8, error);
        std::exit(engine == nullptr && error == ENOMEM ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    int status = -1;
    fixtures::succeeded(waitpid(child, &status, 0));
    check::equal(status, 0);
}

void test_engines() {
    for (const auto name : engine::engine_names) {
        if (name == "uring" ? !fixtures::has_uring() : engine::probe_engine(name) != 0) {
            continue;
        }
        std::unique_ptr<engine::Engine> engine;
        unsigned granted = 0;
        for (; engine == nullptr && granted < 100; ++granted) {
            int error = 0;
            {
                const Refused refused(Whose::this_threads, granted);
                engine = engine::open_engine(name, 8, error);
            }
            check::equal(error, engine == nullptr ? ENOMEM : 0);
        }
        check::is_true(granted > 1, "it takes memory");
        const auto file = fixtures::memory_file("data");
        std::string buffer(4, '.');
        auto read = fixtures::read_request(file.get(), buffer);
        check::equal(fixtures::complete(*engine, read), 4);
    }
}

std::string explain(std::string_view name, int error) {
    std::array<char, 120> text{};
    engine::explain_refusal(name, error, text);
    return text.data();
}

void test_explanations() {
    check::equal(explain("uring", ENOTSUP),
                 "not built in: the extension was built without liburing");
    check::equal(explain("aio", EAGAIN), "/proc/sys/fs/aio-max-nr is used up");
    check::is_true(explain("uring", EPERM).find("io_uring") != std::string::npos, "it is named");
    std::array<char, 120> text{};
    {
        const Refused refused(Whose::this_threads);
        engine::explain_refusal("uring", EPERM, text);
    }
    check::equal(std::string_view(text.data()), "refused by the kernel");
}

// Of a file of which statx(2) says nothing.
void test_alignments() {
    const auto file = fixtures::memory_file("data");
    engine::Alignment found;
    int error = 0;
    {
        const Refused refused(Whose::this_threads);
        error = engine::find_alignment(file.get(), found);
    }
    check::equal(error, 0);
    check::equal(found.transfer, 1);
}

// In the thread that submits: for the first of our threads, and for what is held of a file.
void test_submissions() {
    const auto engine = open("threads");
    const auto file = fixtures::memory_file("data");
    std::string buffer(4, '.');
    auto read = fixtures::read_request(file.get(), buffer);
    engine::Submission submission;
    unsigned refusals = 0;
    while (submission.taken == 0 && refusals < 100) {
        const Refused refused(Whose::this_threads, refusals);
        submission = fixtures::submit(*engine, read);
        if (submission.taken == 0) {
            ++refusals;
            check::equal(submission.error, ENOMEM);
            check::is_true(read.file == nullptr, "untouched");
        }
    }
    check::is_true(refusals >= 2, "a thread and a file");
    const auto completions = fixtures::reap(*engine, 1);
    check::is_true(completions.size() == 1 && completions[0].result == 4, "it is read");
    check::equal(buffer, "data");
}

// A read that has to go elsewhere, and can't, keeps what is behind it from being done.
void test_what_stands_behind_a_read_that_is_refused(engine::Request behind) {
    const auto engine = open("auto");
    const auto file = fixtures::file_on_disk();
    const std::string contents(65536, 'a');
    fixtures::put(file.get(), contents);
    fixtures::succeeded(fsync(file.get()));
    fixtures::succeeded(posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) == 0 ? 0 : -1);
    std::string buffer(4, '.');
    behind.fd = file.get();
    std::array requests{fixtures::read_request(file.get(), buffer, 32768), behind};
    const auto all = fixtures::addresses(requests);
    engine->plan(all, {});
    engine::Submission submission;
    {
        const Refused refused(Whose::this_threads);
        submission = engine->submit(all);
    }
    if (submission.taken != 0) {
        throw check::Skipped("what was written stays in the page cache here");
    }
    check::equal(submission.error, ENOMEM);
    engine->plan(all, {});
    check::equal(engine->submit(all).taken, 2);
    for (const auto& completion : fixtures::reap(*engine, 2)) {
        const bool is_read = completion.request == all[0];
        check::equal(completion.result, is_read ? 4 : 0);
    }
    check::equal(buffer, "aaaa");
}

void test_a_write_behind_a_read_that_is_refused() {
    auto write = fixtures::write_request(-1, "");
    write.rw_flags = RWF_NOWAIT;
    test_what_stands_behind_a_read_that_is_refused(write);
}

// Which goes another way.
void test_a_sync_behind_a_read_that_is_refused() {
    test_what_stands_behind_a_read_that_is_refused({{.opcode = engine::Opcode::fsync}});
}

// In our threads.
void test_watches() {
    const auto engine = open("threads");
    const fixtures::Pipe ready;
    ready.put_byte();
    const fixtures::Pipe pipe;
    auto first = fixtures::poll_request(ready.reader());
    check::equal(fixtures::complete(*engine, first), POLLIN);
    auto poll = fixtures::poll_request(pipe.reader());
    {
        const Refused refused(Whose::others);
        check::equal(fixtures::complete(*engine, poll), -ENOMEM);
    }
    pipe.put_byte();
    check::equal(fixtures::complete(*engine, poll), POLLIN);
}

void test_reactors() {
    for (const std::string_view name : {"threads", "uring"}) {
        if (name == "uring" && !fixtures::has_uring()) {
            continue;
        }
        const fixtures::Pipe pipe;
        pipe.put_byte();
        auto poll = fixtures::poll_request(pipe.reader());
        {
            const auto engine = open(name);
            const Refused refused(Whose::others);
            check::equal(fixtures::complete(*engine, poll), -ENOMEM);
        }
        const auto engine = open(name);
        check::equal(fixtures::complete(*engine, poll), POLLIN);
    }
}

}  // namespace

int main() {
    if (fixtures::is_in_valgrind()) {
        std::cout << "skipped: valgrind has operators of its own\n";
        return check::skipped_status;
    }
    return check::run({
        {"no page", test_no_page},  // first, while the process has none
        {"engines", test_engines},
        {"explanations", test_explanations},
        {"alignments", test_alignments},
        {"submissions", test_submissions},
        {"a write behind a read that is refused", test_a_write_behind_a_read_that_is_refused},
        {"a sync behind a read that is refused", test_a_sync_behind_a_read_that_is_refused},
        {"watches", test_watches},
        {"reactors", test_reactors},
    });
}
