// SPDX-License-Identifier: Apache-2.0
#include "engine/submit_classifier.hpp"

#include <fcntl.h>
#include <sys/uio.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <string_view>
#include <thread>

#include "check.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::Opcode;
using engine::Pace;
using engine::Request;
using engine::SubmitClassifier;
using engine::UniqueFd;

std::string_view name(Pace pace) {
    switch (pace) {
        case Pace::at_once:
            return "at once";
        case Pace::perhaps:
            return "perhaps";
        case Pace::inside:
            return "inside";
        case Pace::asynchronous:
            return "asynchronous";
        case Pace::unknown:
            break;
    }
    return "unknown";
}

// What is asked about one file.
class File {
public:
    File(SubmitClassifier& classifier, int fd) : classifier_(classifier), fd_(fd) {}

    void expect_reads(Pace pace, int rw_flags = 0, check::Where where = check::Where::current()) {
        expect({Opcode::read, Opcode::readv}, rw_flags, pace, where);
    }
    void expect_writes(Pace pace, int rw_flags = 0, check::Where where = check::Where::current()) {
        expect({Opcode::write, Opcode::writev}, rw_flags, pace, where);
    }
    void expect_transfers(Pace pace, int rw_flags = 0,
                          check::Where where = check::Where::current()) {
        expect_reads(pace, rw_flags, where);
        expect_writes(pace, rw_flags, where);
    }
    void expect(std::initializer_list<Opcode> opcodes, int rw_flags, Pace pace,
                check::Where where = check::Where::current()) {
        for (const auto opcode : opcodes) {
            const Request request{{.opcode = opcode, .fd = fd_, .rw_flags = rw_flags}};
            check::equal(name(classifier_.expect(request)), name(pace), where);
        }
    }

private:
    SubmitClassifier& classifier_;
    int fd_;
};

// Longer than what is known of a number stays fresh.
void let_knowledge_grow_old() { std::this_thread::sleep_for(std::chrono::milliseconds(40)); }

// One that can be opened.
UniqueFd block_device() {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/block", none)) {
        UniqueFd fd(open(("/dev/" + entry.path().filename().string()).c_str(),
                         O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        if (fd.is_open()) {
            return fd;
        }
    }
    throw check::Skipped("no block device that can be opened");
}

void test_block_device() {
    const auto fd = block_device();
    SubmitClassifier classifier;
    File file(classifier, fd.get());
    file.expect_transfers(Pace::inside);
    file.expect_transfers(Pace::at_once, RWF_NOWAIT);
}

void test_file_in_memory() {
    const auto fd = fixtures::memory_file("contents");
    SubmitClassifier classifier;
    File file(classifier, fd.get());
    file.expect_transfers(Pace::at_once);
    file.expect_transfers(Pace::at_once, RWF_NOWAIT);

    const auto another_fd = fixtures::memory_file("on the same file system");
    File(classifier, another_fd.get()).expect_transfers(Pace::at_once);
}

void test_pipe() {
    const fixtures::Pipe pipe;
    SubmitClassifier classifier;
    for (const int fd : {pipe.reader(), pipe.writer()}) {
        File file(classifier, fd);
        file.expect_transfers(Pace::unknown);
        file.expect_transfers(Pace::unknown);
    }
}

void test_direct_file() {
    const auto fd = fixtures::file_on_disk(O_DIRECT);
    SubmitClassifier classifier;
    File file(classifier, fd.get());
    file.expect_reads(Pace::asynchronous);
    file.expect_writes(Pace::unknown);
    file.expect_transfers(Pace::asynchronous, RWF_NOWAIT);
}

void test_buffered_file() {
    const auto fd = fixtures::file_on_disk(0);
    SubmitClassifier classifier;
    File file(classifier, fd.get());
    file.expect_transfers(Pace::inside);
    file.expect_transfers(Pace::at_once, RWF_NOWAIT);
}

void test_flag_that_is_set_later() {
    const auto fd = fixtures::file_on_disk(0);
    SubmitClassifier classifier;
    File file(classifier, fd.get());
    file.expect_reads(Pace::inside);
    fixtures::succeeded(fcntl(fd.get(), F_SETFL, O_DIRECT));
    let_knowledge_grow_old();
    file.expect_reads(Pace::asynchronous);
}

void test_what_never_blocks() {
    const fixtures::Pipe pipe;
    SubmitClassifier classifier;
    File file(classifier, pipe.reader());
    file.expect({Opcode::fsync, Opcode::fdsync, Opcode::poll}, 0, Pace::asynchronous);
    file.expect_transfers(Pace::asynchronous, RWF_NOWAIT);
}

void test_no_file() {
    SubmitClassifier classifier;
    File file(classifier, -1);
    file.expect_transfers(Pace::at_once);
}

void test_fd_that_is_not_open() {
    const int closed = fixtures::memory_file("").release();
    close(closed);
    SubmitClassifier classifier;
    File file(classifier, closed);
    file.expect_transfers(Pace::unknown);
}

// A number stands for another file now.
void test_number_that_is_reused() {
    const auto fd = fixtures::memory_file("");
    SubmitClassifier classifier;
    File file(classifier, fd.get());
    file.expect_transfers(Pace::at_once);
    const fixtures::Pipe pipe;
    fixtures::succeeded(dup2(pipe.reader(), fd.get()));
    let_knowledge_grow_old();
    file.expect_transfers(Pace::unknown);
}

// More files than it keeps in mind.
void test_many_files() {
    std::array<UniqueFd, 200> files;
    for (auto& fd : files) {
        fd = fixtures::memory_file("");
    }
    const fixtures::Pipe pipe;
    SubmitClassifier classifier;
    for (int round = 0; round < 2; ++round) {
        for (const auto& fd : files) {
            File(classifier, fd.get()).expect_transfers(Pace::at_once);
            File(classifier, pipe.reader()).expect_transfers(Pace::unknown);
        }
    }
}

void test_predicates() {
    check::is_true(!engine::may_block(Pace::at_once) && engine::ends_inside(Pace::at_once),
                   "at once");
    check::is_true(engine::may_block(Pace::inside) && engine::ends_inside(Pace::inside), "inside");
    check::is_true(
        !engine::may_block(Pace::asynchronous) && !engine::ends_inside(Pace::asynchronous),
        "asynchronous");
    check::is_true(engine::may_block(Pace::unknown) && !engine::ends_inside(Pace::unknown),
                   "unknown");
}

}  // namespace

int main() {
    return check::run({
        {"a file in memory, ", test_file_in_memory},
        {"a block device", test_block_device},
        {"a pipe", test_pipe},
        {"direct I/O on a disk", test_direct_file},
        {"buffered I/O on a disk", test_buffered_file},
        {"O_DIRECT that is set later", test_flag_that_is_set_later},
        {"what never blocks", test_what_never_blocks},
        {"no file", test_no_file},
        {"an fd that is not open", test_fd_that_is_not_open},
        {"an fd's number that is reused", test_number_that_is_reused},
        {"many files", test_many_files},
        {"what paces mean", test_predicates},
    });
}
