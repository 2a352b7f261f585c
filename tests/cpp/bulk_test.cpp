// SPDX-License-Identifier: Apache-2.0
// Bulk transfers: a source of segments, pieces for another thread, what is cached, the pacer.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bulk/cached_readers.hpp"
#include "bulk/load.hpp"
#include "bulk/pacer.hpp"
#include "bulk/page_cache.hpp"
#include "bulk/piece_reader.hpp"
#include "bulk/sizes.hpp"
#include "check.hpp"
#include "engine/unique_fd.hpp"

namespace {

using bulk::DirectMode;
using bulk::Next;
using bulk::Segment;
using engine::UniqueFd;

constexpr std::size_t file_size = (std::size_t{5} << 20U) + 777;

// A file in the folder of the build, which is likely to be on a disk, that has no name any more.
class TestFile {
public:
    TestFile() : content_(file_size) {
        std::mt19937 dice(1);
        std::ranges::generate(content_, [&] { return static_cast<std::byte>(dice()); });
        std::string name = "bulk_test.XXXXXX";
        fd_ = UniqueFd(mkstemp(name.data()));
        check::equal(write(fd_.get(), content_.data(), file_size), static_cast<ssize_t>(file_size));
        fsync(fd_.get());
        const auto path = "/proc/self/fd/" + std::to_string(fd_.get());
        direct_fd_ = UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
        unlink(name.c_str());
    }

    void forget() const { posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED); }
    int fd() const { return fd_.get(); }
    bulk::File file(bool direct) const {
        return {.buffered_fd = fd_.get(),
                .direct_fd = direct ? direct_fd_.get() : -1,
                .alignment = {.memory = 512, .transfer = 512}};
    }
    std::span<const std::byte> content(std::uint64_t offset, std::size_t length) const {
        return std::span(content_).subspan(static_cast<std::size_t>(offset), length);
    }

private:
    std::vector<std::byte> content_;
    UniqueFd fd_;
    UniqueFd direct_fd_;
};

// Hands out segments that it was given, says "later" now and then, and can stop.
class Segments final : public bulk::SegmentSource {
public:
    std::vector<Segment> segments;
    std::size_t finished_count = 0;
    std::size_t stop_after = SIZE_MAX;  // finished segments

    Next next(Segment*& segment, bool may_wait) noexcept override {
        if (place_ == segments.size()) {
            return Next::end;
        }
        if (!may_wait && place_ % 3 == 2 && !std::exchange(said_later_, true)) {
            return Next::later;
        }
        said_later_ = false;
        segment = &segments[place_++];
        return Next::segment;
    }
    bool finished(Segment& /*segment*/) noexcept override { return ++finished_count < stop_after; }
    bool tick(std::uint64_t /*done*/) noexcept override { return true; }

private:
    std::size_t place_ = 0;
    bool said_later_ = false;
};

struct Way {
    DirectMode mode;
    const char* engine;
    std::size_t chunk;
    unsigned depth;
};
constexpr std::array<Way, 6> ways{{
    {DirectMode::where_it_pays, "auto", 0, 0},
    {DirectMode::where_it_pays, "threads", 4096, 3},
    {DirectMode::always, "auto", 65536, 1},
    {DirectMode::always, "aio", 100'000, 16},
    {DirectMode::never, "auto", 8192, 2},
    {DirectMode::never, "threads", 0, 64},
}};

bulk::LoadOptions options_of(const Way& way) {
    return {.direct = way.mode, .chunk = way.chunk, .depth = way.depth, .engine = way.engine};
}

bool is_direct(const Way& way) { return way.mode != DirectMode::never; }

// Every byte of many segments, of all sizes and at all alignments, cold and warm.
void segments_of_all_kinds() {
    const TestFile file;
    std::mt19937 dice(2);
    constexpr std::array<std::size_t, 12> lengths{0,    1,    511,   512,    513,     4095,
                                                  4096, 4097, 65536, 70'001, 1 << 20, 3 << 20};
    for (const auto& way : ways) {
        for (const bool cold : {true, false}) {
            if (cold) {
                file.forget();
            }
            Segments source;
            std::vector<std::vector<std::byte>> memory;
            for (int i = 0; i < 60; ++i) {
                const auto length = lengths[dice() % lengths.size()];
                memory.emplace_back(length + 600);
                source.segments.push_back({.offset = dice() % (file_size - length),
                                           .address = memory.back().data() + dice() % 600,
                                           .length = length});
            }
            const auto report = load(file.file(is_direct(way)), options_of(way), source);
            check::equal(report.error, 0);
            check::is_true(!report.met_end && !report.stopped, "all of it was read");
            check::equal(source.finished_count, source.segments.size());
            std::uint64_t total = 0;
            for (const auto& segment : source.segments) {
                total += segment.length;
                check::equal(segment.loaded, segment.length);
                check::is_true(std::ranges::equal(std::span(segment.address, segment.length),
                                                  file.content(segment.offset, segment.length)),
                               "the bytes are the file's");
            }
            check::equal(report.loaded, total);
        }
    }
}

void the_end_of_the_file() {
    const TestFile file;
    for (const auto& way : ways) {
        file.forget();
        std::vector<std::byte> memory(1 << 20);
        Segments source;
        source.segments.push_back(
            {.offset = file_size - 1000, .address = memory.data(), .length = 500'000});
        source.segments.push_back(
            {.offset = file_size + 5, .address = memory.data() + 500'000, .length = 10});
        const auto report = load(file.file(is_direct(way)), options_of(way), source);
        check::equal(report.error, 0);
        check::is_true(report.met_end, "it says so");
        check::equal(report.loaded, 1000);
        check::equal(source.segments[0].loaded, 1000);
        check::equal(source.segments[1].loaded, 0);
        check::is_true(
            std::ranges::equal(std::span(memory).first(1000), file.content(file_size - 1000, 1000)),
            "what there was is there");
        check::is_true(memory[1000] == std::byte{}, "and no more");
    }
}

void a_source_that_stops() {
    const TestFile file;
    for (const auto& way : ways) {
        file.forget();
        std::vector<std::byte> memory(file_size);
        Segments source;
        source.stop_after = 3;
        for (std::size_t i = 0; i < 50; ++i) {
            source.segments.push_back(
                {.offset = i * 100'000, .address = memory.data() + i * 100'000, .length = 99'999});
        }
        const auto report = load(file.file(is_direct(way)), options_of(way), source);
        check::is_true(report.stopped, "it was stopped");
        check::is_true(source.finished_count >= 3, "after some");
    }
}

void an_error_is_reported_once_with_its_place() {
    const TestFile file;
    const UniqueFd write_only(open("/dev/null", O_WRONLY | O_CLOEXEC));
    std::vector<std::byte> memory(100'000);
    Segments source;
    source.segments.push_back({.offset = 4096, .address = memory.data(), .length = 100'000});
    bulk::File bad;
    bad.buffered_fd = write_only.get();
    const auto report = load(bad, options_of(ways[0]), source);
    check::equal(report.error, EBADF);
    check::equal(report.error_offset, 4096);
}

// --- pieces for another thread

void pieces_in_a_pool() {
    const TestFile file;
    constexpr std::size_t unit = 65536;
    std::vector<std::byte> pool(unit * 5);
    const std::array<bulk::Range, 2> ranges{
        {{.offset = 0, .length = 3'000'000, .window = 0},
         {.offset = 4'000'000, .length = file_size - 4'000'000, .window = 0}}};
    bulk::PieceReader reader(ranges, pool, unit, 0);
    auto done = std::async(std::launch::async, [&] {
        const auto report = reader.run(file.file(true), options_of(ways[0]), -1);
        reader.stop();
        return report;
    });
    std::uint64_t total = 0;
    std::size_t most = 0;
    while (total < 3'000'000 + file_size - 4'000'000) {
        reader.wait(std::chrono::milliseconds(40));
        auto* next = reader.take();
        std::size_t count = 0;
        while (next != nullptr) {
            const std::unique_ptr<bulk::Piece> piece(std::exchange(next, next->next));
            const auto& segment = piece->segment;
            check::equal(segment.loaded, segment.length);
            check::is_true(std::ranges::equal(std::span(segment.address, segment.length),
                                              file.content(segment.offset, segment.length)),
                           "the bytes are the file's");
            check::is_true(segment.address == pool.data() + piece->place * unit, "its place");
            total += segment.length;
            ++count;
            reader.give_back(piece->place);
        }
        most = std::max(most, count);
    }
    check::is_true(most <= 5, "no more than there are places");
    check::equal(check::get(done).loaded, total);
}

// Ranges that are not given back use up the memory; those of the window are read all the same.
void memory_is_limited() {
    const TestFile file;
    std::vector<bulk::Range> ranges;
    for (std::uint64_t i = 0; i < 40; ++i) {
        ranges.push_back({.offset = i * 100'000, .length = 50'000, .window = i / 10 + 1});
    }
    bulk::PieceReader reader(ranges, {}, 0, 200'000);
    auto done = std::async(std::launch::async,
                           [&] { return reader.run(file.file(false), options_of(ways[0]), -1); });
    std::size_t taken = 0;
    const auto take = [&] {
        for (auto* next = reader.take(); next != nullptr; ++taken) {
            const std::unique_ptr<bulk::Piece> piece(std::exchange(next, next->next));
            check::is_true(std::ranges::equal(std::span(piece->memory.data(), 50'000),
                                              file.content(piece->segment.offset, 50'000)),
                           "the bytes are the file's");
        }
    };
    const auto take_until = [&](std::size_t count) {
        const auto deadline = std::chrono::steady_clock::now() + check::patience;
        while (taken < count && std::chrono::steady_clock::now() < deadline) {
            take();
            reader.wait(std::chrono::milliseconds(1));
        }
    };
    take_until(4);
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    take();
    check::equal(taken, 4);
    reader.set_window(2);
    take_until(20);
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    take();
    check::equal(taken, 20);
    reader.give_back(20 * 50'000);
    take_until(24);
    reader.stop();
    check::is_true(check::get(done).stopped, "it ends when it is told to");
}

// --- the page cache

void several_threads_read_what_is_cached() {
    const TestFile file;
    std::vector<std::byte> memory(file_size);
    for (const unsigned helpers : {0U, 1U, 3U}) {
        std::ranges::fill(memory, std::byte{});
        bulk::CachedReaders readers(file.fd());
        readers.start(helpers);
        constexpr std::size_t size = 100'000;
        std::size_t offset = 0;
        std::size_t done = 0;
        bulk::CachedPart part;
        while (done < file_size) {
            if (offset < file_size) {
                const auto length = std::min(size, file_size - offset);
                if (readers.add(
                        {.offset = offset, .address = memory.data() + offset, .length = length})) {
                    offset += length;
                    continue;
                }
            }
            readers.run_one();
            while (readers.take_done(part, std::chrono::milliseconds(1))) {
                check::equal(part.done, part.length);
                done += part.done;
            }
        }
        check::is_true(std::ranges::equal(memory, file.content(0, file_size)),
                       "the bytes are the file's");
        // What is forgotten or running when it is stopped is not reported.
        for (std::size_t i = 0; i < 10; ++i) {
            readers.add({.offset = 0, .address = memory.data() + i * size, .length = size});
        }
        readers.stop();
        check::is_true(!readers.take_done(part, std::chrono::milliseconds(0)), "nothing is left");
    }
}

void residency_is_known() {
    const TestFile file;
    bulk::PageCache cache(file.fd());
    std::vector<std::byte> memory(file_size);
    check::equal(pread(file.fd(), memory.data(), file_size, 0), static_cast<ssize_t>(file_size));
    const auto warm = cache.residency(0, file_size);
    check::is_true(warm == bulk::Residency::all || warm == bulk::Residency::most,
                   "all that was read");
    check::is_true(cache.residency(file_size + 10'000, 10) == bulk::Residency::all,
                   "nothing to wait for beyond the end");
    check::is_true(bulk::PageCache(-1).residency(0, 1) == bulk::Residency::unknown, "no file");
}

// --- the pacer

void a_slow_disk_gets_less() {
    using std::chrono::milliseconds;
    bulk::Pacer pacer(16);
    check::equal(pacer.allowed(), 16);
    for (int i = 0; i < 10; ++i) {
        pacer.completed(milliseconds(100));
    }
    check::equal(pacer.allowed(), 1);
    pacer.completed(milliseconds(40));
    check::equal(pacer.allowed(), 1);
    for (int i = 0; i < 30; ++i) {
        pacer.completed(milliseconds(1));
    }
    check::equal(pacer.allowed(), 16);
}

void sizes_are_rounded() {
    check::equal(bulk::chunk_of(0, 4096), bulk::default_chunk);
    check::equal(bulk::chunk_of(1, 4096), 4096);
    check::equal(bulk::chunk_of(4097, 4096), 8192);
    check::equal(bulk::chunk_of(SIZE_MAX, 4096), bulk::most_chunk);
    check::equal(bulk::depth_of(0), bulk::default_depth);
    check::equal(bulk::depth_of(1'000'000), bulk::most_depth);
    check::equal(bulk::round_up(4096, 4096), 4096);
    check::equal(bulk::round_down(4095, 4096), 0);
}

}  // namespace

int main() {
    return check::run({
        {"segments of all kinds", segments_of_all_kinds},
        {"the end of the file", the_end_of_the_file},
        {"a source that stops", a_source_that_stops},
        {"an error is reported with its place", an_error_is_reported_once_with_its_place},
        {"pieces in a pool", pieces_in_a_pool},
        {"memory is limited", memory_is_limited},
        {"several threads read what is cached", several_threads_read_what_is_cached},
        {"residency is known", residency_is_known},
        {"a slow disk gets less", a_slow_disk_gets_less},
        {"sizes are rounded", sizes_are_rounded},
    });
}
