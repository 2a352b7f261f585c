// SPDX-License-Identifier: Apache-2.0
// Files, pipes and requests for tests of the engines.
#pragma once

#include <fcntl.h>
#include <libaio.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "check.hpp"
#include "engine/engine.hpp"
#include "engine/file_status.hpp"
#include "engine/reactors.hpp"
#include "engine/request.hpp"
#include "engine/unique_fd.hpp"
#include "libaio/calls.hpp"

namespace fixtures {

inline int succeeded(int result) {
    if (result < 0) {
        throw std::system_error(errno, std::generic_category());
    }
    return result;
}

// Whether io_setup(2) is there, is allowed, and has something left of what the machine may have.
inline bool has_kernel_aio() {
    io_context_t context = nullptr;
    const int status = libaio::calls.setup(1, &context);
    if (status == 0) {
        libaio::calls.destroy(context);
    }
    return status != -ENOSYS && status != -EPERM && status != -EAGAIN;
}

// Valgrind does not know that io_uring_enter(2) waits, and lets no other thread run meanwhile.
inline bool is_in_valgrind() {
    const char* const preloaded = std::getenv("LD_PRELOAD");
    return preloaded != nullptr &&
           std::string_view(preloaded).find("vgpreload") != std::string_view::npos;
}

inline bool has_uring() { return engine::probe_uring() == 0 && !is_in_valgrind(); }

inline std::unique_ptr<engine::Engine> make_engine(unsigned max_requests = 128) {
    int error = 0;
    auto engine = engine::open_engine("aio", max_requests, error);
    if (engine == nullptr) {
        throw std::system_error(error, std::generic_category());
    }
    return engine;
}

// As check::run, where there is kernel AIO.
inline int run_with_kernel_aio(std::initializer_list<check::Test> tests) {
    if (!has_kernel_aio()) {
        std::cout << "skipped: no kernel AIO here\n";
        return check::skipped_status;
    }
    return check::run(tests);
}

inline void put(int fd, std::string_view contents) {
    if (write(fd, contents.data(), contents.size()) != std::ssize(contents)) {
        throw std::system_error(errno, std::generic_category());
    }
}

// A file in memory: the kernel completes its reads and writes inside io_submit.
inline engine::UniqueFd memory_file(std::string_view contents) {
    engine::UniqueFd fd(succeeded(memfd_create("linux_aio_test", MFD_CLOEXEC)));
    put(fd.get(), contents);
    return fd;
}

// A file on a disk of a kind that is known, where one can be made.
inline engine::UniqueFd file_on_disk(int flags = 0) {
    const char* const temporary = std::getenv("TMPDIR");
    for (const std::string folder : {temporary != nullptr ? temporary : "/tmp", "/var/tmp", "."}) {
        engine::UniqueFd fd(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600));
        if (fd.is_open() &&
            engine::is_local_disk(engine::file_system_of(engine::status_of(fd.get())))) {
            return fd;
        }
    }
    throw check::Skipped("no disk here that is known, and takes O_TMPFILE and these flags");
}

class Pipe {
public:
    Pipe() {
        int ends[2];
        succeeded(pipe(ends));
        reader_ = engine::UniqueFd(ends[0]);
        writer_ = engine::UniqueFd(ends[1]);
    }

    int reader() const { return reader_.get(); }
    int writer() const { return writer_.get(); }
    void put_byte() const { put(writer(), "x"); }

private:
    engine::UniqueFd reader_;
    engine::UniqueFd writer_;
};

inline engine::Request read_request(int fd, std::span<char> buffer, std::uint64_t offset = 0) {
    return {{.opcode = engine::Opcode::read,
             .fd = fd,
             .offset = offset,
             .address = buffer.data(),
             .length = buffer.size()}};
}

inline engine::Request write_request(int fd, std::string_view bytes, std::uint64_t offset = 0) {
    return {{.opcode = engine::Opcode::write,
             .fd = fd,
             .offset = offset,
             .address = const_cast<char*>(bytes.data()),
             .length = bytes.size()}};
}

// Of an empty pipe: in flight until told otherwise.
inline engine::Request poll_request(int fd) {
    return {{.opcode = engine::Opcode::poll, .fd = fd, .poll_events = POLLIN}};
}

// As many reads of one byte each as the buffer is long.
inline std::vector<engine::Request> byte_reads(int fd, std::span<char> buffer) {
    std::vector<engine::Request> requests;
    requests.reserve(buffer.size());
    for (std::size_t i = 0; i < buffer.size(); ++i) {
        requests.push_back(read_request(fd, buffer.subspan(i, 1), i));
    }
    return requests;
}

inline std::vector<engine::Request*> addresses(std::span<engine::Request> requests) {
    std::vector<engine::Request*> result(requests.size());
    std::ranges::transform(requests, result.begin(), [](auto& request) { return &request; });
    return result;
}

inline engine::Submission submit(engine::Engine& engine, engine::Request& request) {
    engine::Request* const address = &request;
    engine.plan({&address, 1}, std::nullopt);
    return engine.submit({&address, 1});
}

// Waits for the next completions and returns them, fewer if they don't come.
inline std::vector<engine::Completion> reap(engine::Engine& engine, std::size_t count) {
    std::vector<engine::Completion> completions(count);
    std::size_t reaped = 0;
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    while (reaped < count && std::chrono::steady_clock::now() < deadline) {
        const auto ticket = engine.ticket();
        const auto found = engine.reap(std::span(completions).subspan(reaped));
        reaped += found;
        if (found == 0) {
            engine.wait(ticket, std::chrono::milliseconds(100));
        }
    }
    completions.resize(reaped);
    return completions;
}

// What the attempt returns, tried again while that is -ETOOMANYREFS: other processes of the same
// user have so many files in sockets that the kernel takes no more. It counts those of all of them
// against the limit of this one.
template <class Attempt>
std::int64_t beside_others(Attempt attempt) {
    const auto deadline = std::chrono::steady_clock::now() + check::patience;
    for (;;) {
        const std::int64_t result = attempt();
        if (result != -ETOOMANYREFS || std::chrono::steady_clock::now() >= deadline) {
            return result;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

// The result of one request from submission to completion, or a refusal's negative errno.
inline std::int64_t complete(engine::Engine& engine, engine::Request& request,
                             check::Where where = check::Where::current()) {
    const auto submission = submit(engine, request);
    if (submission.taken != 1) {
        return -submission.error;
    }
    const auto completions = reap(engine, 1);
    if (completions.empty() || completions[0].request != &request) {
        check::fail("the request did not complete", where);
        return 0;
    }
    return completions[0].result;
}

}  // namespace fixtures
