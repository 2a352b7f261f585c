// SPDX-License-Identifier: Apache-2.0
#include "engine/blocking.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "check.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::BlockingHints;
using engine::Opcode;
using engine::Request;
using engine::UniqueFd;

Request request(Opcode opcode, int fd, int rw_flags = 0) {
    return {.opcode = opcode, .fd = fd, .rw_flags = rw_flags};
}

// May a read, readv, write, writev of the file block?
void expect_transfers_may_block(BlockingHints& hints, int fd, bool reads, bool writes,
                                check::Where where = check::Where::current()) {
    check::equal(hints.may_block(request(Opcode::read, fd)), reads, where);
    check::equal(hints.may_block(request(Opcode::readv, fd)), reads, where);
    check::equal(hints.may_block(request(Opcode::write, fd)), writes, where);
    check::equal(hints.may_block(request(Opcode::writev, fd)), writes, where);
}

// Of a file on a disk whose direct reads are known to be asynchronous.
UniqueFd file_on_disk(int flags) {
    const char* const temporary = std::getenv("TMPDIR");
    for (const std::string folder : {temporary != nullptr ? temporary : "/tmp", "/var/tmp", "."}) {
        UniqueFd fd(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600));
        struct statfs status{};
        if (!fd.is_open() || fstatfs(fd.get(), &status) != 0) {
            continue;
        }
        const auto type = static_cast<std::uint32_t>(status.f_type);
        if (type == EXT4_SUPER_MAGIC || type == BTRFS_SUPER_MAGIC || type == 0x58465342) {
            return fd;
        }
    }
    throw check::Skipped("no ext4, XFS or btrfs here that has O_TMPFILE and takes the flags");
}

// Longer than what is known of a number stays fresh.
void let_knowledge_grow_old() { std::this_thread::sleep_for(std::chrono::milliseconds(40)); }

void test_file_in_memory() {
    const auto file = fixtures::memory_file("contents");
    BlockingHints hints;
    expect_transfers_may_block(hints, file.get(), true, true);
    hints.learn(request(Opcode::read, file.get()));
    expect_transfers_may_block(hints, file.get(), false, false);

    const auto another = fixtures::memory_file("on the same file system");
    expect_transfers_may_block(hints, another.get(), false, false);
}

void test_pipe() {
    const fixtures::Pipe pipe;
    BlockingHints hints;
    hints.learn(request(Opcode::read, pipe.reader()));
    expect_transfers_may_block(hints, pipe.reader(), true, true);
    expect_transfers_may_block(hints, pipe.writer(), true, true);
}

void test_direct_file() {
    const auto file = file_on_disk(O_DIRECT);
    BlockingHints hints;
    expect_transfers_may_block(hints, file.get(), true, true);
    hints.learn(request(Opcode::read, file.get()));
    expect_transfers_may_block(hints, file.get(), false, true);
}

void test_buffered_file() {
    const auto file = file_on_disk(0);
    BlockingHints hints;
    hints.learn(request(Opcode::read, file.get()));
    expect_transfers_may_block(hints, file.get(), true, true);
}

void test_flag_that_is_set_later() {
    const auto file = file_on_disk(0);
    BlockingHints hints;
    hints.learn(request(Opcode::read, file.get()));
    check::is_true(hints.may_block(request(Opcode::read, file.get())), "buffered");
    fcntl(file.get(), F_SETFL, O_DIRECT);
    let_knowledge_grow_old();
    check::is_true(!hints.may_block(request(Opcode::read, file.get())), "direct");
}

void test_what_never_blocks() {
    const fixtures::Pipe pipe;
    BlockingHints hints;
    for (const auto opcode : {Opcode::fsync, Opcode::fdsync, Opcode::poll}) {
        check::is_true(!hints.may_block(request(opcode, pipe.reader())), "a sync or a poll");
    }
    for (const auto opcode : {Opcode::read, Opcode::readv, Opcode::write, Opcode::writev}) {
        check::is_true(!hints.may_block(request(opcode, pipe.reader(), RWF_NOWAIT)), "RWF_NOWAIT");
        check::is_true(!hints.may_block(request(opcode, -1)), "no file");
    }
}

void test_fd_that_is_not_open() {
    int closed = fixtures::memory_file("").release();
    close(closed);
    BlockingHints hints;
    hints.learn(request(Opcode::read, closed));
    expect_transfers_may_block(hints, closed, true, true);
}

// A number stands for another file now.
void test_number_that_is_reused() {
    const auto file = fixtures::memory_file("");
    BlockingHints hints;
    hints.learn(request(Opcode::read, file.get()));
    check::is_true(!hints.may_block(request(Opcode::read, file.get())), "in memory");
    const fixtures::Pipe pipe;
    fixtures::succeeded(dup2(pipe.reader(), file.get()));
    let_knowledge_grow_old();
    check::is_true(hints.may_block(request(Opcode::read, file.get())), "a pipe");
}

// More files than it keeps in mind.
void test_many_files() {
    std::array<UniqueFd, 200> files;
    for (auto& file : files) {
        file = fixtures::memory_file("");
    }
    const fixtures::Pipe pipe;
    BlockingHints hints;
    hints.learn(request(Opcode::read, files.front().get()));
    for (int round = 0; round < 2; ++round) {
        for (const auto& file : files) {
            expect_transfers_may_block(hints, file.get(), false, false);
            expect_transfers_may_block(hints, pipe.reader(), true, true);
        }
    }
}

}  // namespace

int main() {
    return check::run({
        {"a file in memory, once that is known", test_file_in_memory},
        {"a pipe", test_pipe},
        {"direct I/O on a disk", test_direct_file},
        {"buffered I/O on a disk", test_buffered_file},
        {"O_DIRECT that is set later", test_flag_that_is_set_later},
        {"what never blocks", test_what_never_blocks},
        {"an fd that is not open", test_fd_that_is_not_open},
        {"an fd's number that is reused", test_number_that_is_reused},
        {"many files", test_many_files},
    });
}
