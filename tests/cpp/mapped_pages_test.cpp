// SPDX-License-Identifier: Apache-2.0
#include "engine/mapped_pages.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

#include "check.hpp"
#include "engine/unique_fd.hpp"
#include "fixtures.hpp"

namespace {

using engine::InMemory;
using engine::MappedPages;
using engine::UniqueFd;

const auto page = engine::page_size();

// A file in memory, of which only the pages that were written to are in memory.
UniqueFd make_file(std::size_t size) {
    UniqueFd file(fixtures::succeeded(memfd_create("pages", MFD_CLOEXEC)));
    fixtures::succeeded(ftruncate(file.get(), static_cast<off_t>(size)));
    return file;
}

void write_page(const UniqueFd& file, std::size_t number) {
    const std::string data(page, 'x');
    check::equal(pwrite(file.get(), data.data(), page, static_cast<off_t>(number * page)), page);
}

InMemory ask(MappedPages& pages, const UniqueFd& file, std::uint64_t offset, std::size_t length) {
    return pages.has(file.get(), engine::status_of(file.get()), offset, length);
}

void is(MappedPages& pages, const UniqueFd& file, std::uint64_t offset, std::size_t length,
        InMemory expected, check::Where where = check::Where::current()) {
    check::is_true(ask(pages, file, offset, length) == expected, "what is in memory", where);
}

void test_pages(std::size_t questions) {
    const auto file = make_file(100 * page + 10);
    write_page(file, 1);
    write_page(file, 2);
    MappedPages pages(questions);
    is(pages, file, page, page, InMemory::yes);
    is(pages, file, page + 5, page, InMemory::yes);  // of two pages
    is(pages, file, page + 5, 2 * page, InMemory::no);
    is(pages, file, 0, page, InMemory::no);
    is(pages, file, page, 0, InMemory::yes);
    is(pages, file, 0, 0, InMemory::no);
    is(pages, file, 100 * page, 1, InMemory::no);
    is(pages, file, 100 * page + 10, page, InMemory::yes);  // behind the end there are none
    is(pages, file, 1000 * page, page, InMemory::yes);
    is(pages, file, 0, 90 * page, InMemory::unknown);
    write_page(file, 3);
    is(pages, file, page + 5, 2 * page, InMemory::yes);
    check::equal(pwrite(file.get(), "end", 3, static_cast<off_t>(100 * page)), 3);
    is(pages, file, 100 * page, page, InMemory::yes);
}

void test_one_question() { test_pages(1); }
void test_several_questions() { test_pages(8); }

void test_several_files() {
    const auto first = make_file(10 * page);
    const auto second = make_file(10 * page);
    write_page(first, 4);
    write_page(second, 5);
    MappedPages pages(8);
    for (int i = 0; i < 3; ++i) {
        is(pages, first, 4 * page, page, InMemory::yes);
        is(pages, second, 4 * page, page, InMemory::no);
        is(pages, second, 5 * page, page, InMemory::yes);
        is(pages, first, 5 * page, page, InMemory::no);
    }
    fixtures::succeeded(dup3(second.get(), first.get(), O_CLOEXEC));
    is(pages, first, 5 * page, page, InMemory::yes);  // the number is another file's now
}

void test_a_file_that_grows_and_shrinks() {
    const auto file = make_file(page);
    write_page(file, 0);
    MappedPages pages(8);
    is(pages, file, 0, page, InMemory::yes);
    write_page(file, 8);
    is(pages, file, 8 * page, page, InMemory::yes);
    is(pages, file, 7 * page, page, InMemory::no);
    const auto before = engine::status_of(file.get());
    fixtures::succeeded(ftruncate(file.get(), 0));
    check::is_true(pages.has(file.get(), before, 8 * page, page) == InMemory::no,
                   "pages that were cut off");
}

void test_offsets_beyond_a_window() {
    const std::uint64_t far = (std::uint64_t{3} << 30U) - page;
    const auto file = make_file(static_cast<std::size_t>(far) + 4 * page);
    write_page(file, static_cast<std::size_t>(far / page));
    write_page(file, static_cast<std::size_t>(far / page) + 1);
    MappedPages pages(8);
    is(pages, file, 0, page, InMemory::no);
    is(pages, file, far, 2 * page, InMemory::yes);  // across the border of two windows
    is(pages, file, far, 3 * page, InMemory::no);
    is(pages, file, far + page, page, InMemory::yes);
}

// How many bytes are mapped of the file that was made last, by this process or its child.
std::size_t mapped_bytes() {
    std::ifstream maps("/proc/self/maps");
    std::size_t bytes = 0;
    for (std::string line; std::getline(maps, line);) {
        if (line.find("memfd:pages") != std::string::npos) {
            const auto dash = line.find('-');
            bytes += std::stoull(line.substr(dash + 1), nullptr, 16) -
                     std::stoull(line.substr(0, dash), nullptr, 16);
        }
    }
    return bytes;
}

void test_children() {
    const auto file = make_file(100 * page);
    write_page(file, 1);
    for (const std::size_t questions : {std::size_t{1}, std::size_t{8}}) {
        MappedPages pages(questions);
        is(pages, file, page, page, InMemory::yes);
        check::is_true(mapped_bytes() >= page, "it is mapped here");
        const auto child = fork();
        if (child == 0) {
            _exit(mapped_bytes() == 0 ? 0 : 1);
        }
        int status = -1;
        fixtures::succeeded(waitpid(child, &status, 0));
        check::equal(status, 0);
        pages.unmap();
        check::equal(mapped_bytes(), 0);
        is(pages, file, page, page, InMemory::yes);
    }
    check::equal(mapped_bytes(), 0);
}

void test_limited_address_space() {
    const auto file = make_file(100 * page);
    write_page(file, 1);
    rlimit before{};
    fixtures::succeeded(getrlimit(RLIMIT_AS, &before));
    auto limited = before;
    limited.rlim_cur = std::min<rlim_t>(before.rlim_max, rlim_t{1} << 47U);
    fixtures::succeeded(setrlimit(RLIMIT_AS, &limited));
    MappedPages pages(8);
    is(pages, file, page, page, InMemory::yes);
    check::equal(mapped_bytes(), page);  // only what was asked for
    is(pages, file, 2 * page, page, InMemory::no);
    fixtures::succeeded(setrlimit(RLIMIT_AS, &before));
}

void test_locked_memory() {
    const auto file = make_file(100 * page);
    write_page(file, 7);
    if (mlockall(MCL_FUTURE) != 0) {
        throw check::Skipped("this user may not lock memory");
    }
    {
        MappedPages pages(8);
        is(pages, file, 7 * page, page, InMemory::yes);
        is(pages, file, 8 * page, page, InMemory::no);
    }
    munlockall();
    struct stat status{};
    fixtures::succeeded(fstat(file.get(), &status));
    check::equal(static_cast<std::size_t>(status.st_blocks) * 512, page);  // no other page was made
}

}  // namespace

int main() {
    return check::run({
        {"pages are in memory or not", test_one_question},
        {"the same with a mapping for several questions", test_several_questions},
        {"several files", test_several_files},
        {"a file that grows and shrinks", test_a_file_that_grows_and_shrinks},
        {"offsets beyond a window", test_offsets_beyond_a_window},
        {"child processes", test_children},
        {"limited address space", test_limited_address_space},
        {"mlockall", test_locked_memory},
    });
}
