// SPDX-License-Identifier: Apache-2.0
// The completion ring, read from plain memory that a test fills as the kernel does, and as it would
// not. The memory ends with the ring, and the page behind it can't be touched.
#include "libaio/ring.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <system_error>
#include <vector>

#include "check.hpp"

namespace {

using libaio::Ring;
using libaio::RingEvent;

struct Header {
    std::uint32_t id = 0;
    std::uint32_t nr = 0;
    std::uint32_t head = 0;
    std::uint32_t tail = 0;
    std::uint32_t magic = 0xa10a10a1;
    std::uint32_t compat_features = 1;
    std::uint32_t incompat_features = 0;
    std::uint32_t header_length = 32;
};

// The kernel's side of a ring with that many places, of which one always stays free.
class KernelRing {
public:
    explicit KernelRing(std::uint32_t places) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const auto size = sizeof(Header) + places * sizeof(RingEvent);
        const auto usable = (size + page - 1) / page * page;
        mapped_ = usable + page;
        void* const memory =
            mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            throw std::system_error(errno, std::generic_category());
        }
        memory_ = static_cast<std::byte*>(memory);
        mprotect(memory_ + usable, page, PROT_NONE);
        header_ = new (memory_ + usable - size) Header{.nr = places};
    }
    KernelRing(const KernelRing&) = delete;
    KernelRing& operator=(const KernelRing&) = delete;
    ~KernelRing() { munmap(memory_, mapped_); }

    Header& header() { return *header_; }
    void* address() { return header_; }
    Ring reader() { return Ring(header_); }

    bool is_full() const { return (header_->tail + 1) % header_->nr == header_->head; }

    // Appends an event made of its number.
    void complete(std::uint64_t number) {
        auto* events = reinterpret_cast<RingEvent*>(header_ + 1);
        events[header_->tail] = {.data = number,
                                 .obj = number + 1'000'000,
                                 .res = -static_cast<std::int64_t>(number),
                                 .res2 = 7};
        header_->tail = (header_->tail + 1) % header_->nr;
    }

private:
    std::byte* memory_ = nullptr;
    std::size_t mapped_ = 0;
    Header* header_ = nullptr;
};

// The next events, at most so many, by their numbers.
std::vector<std::uint64_t> peek(Ring& ring, std::size_t at_most) {
    std::vector<RingEvent> events(at_most);
    events.resize(ring.peek(events));
    std::vector<std::uint64_t> numbers;
    for (const auto& event : events) {
        check::equal(event.obj, event.data + 1'000'000);
        check::equal(event.res, -static_cast<std::int64_t>(event.data));
        check::equal(event.res2, 7);
        numbers.push_back(event.data);
    }
    return numbers;
}

void expect_events(Ring& ring, std::size_t at_most, const std::vector<std::uint64_t>& expected,
                   check::Where where = check::Where::current()) {
    check::is_true(peek(ring, at_most) == expected, "other events than expected", where);
}

void expect_nothing(Ring& ring, check::Where where = check::Where::current()) {
    check::is_true(!ring.has_unseen(), "there is something to see", where);
    expect_events(ring, 100, {}, where);
}

void test_unknown_layouts() {
    KernelRing kernel(8);
    kernel.complete(1);
    check::is_true(kernel.reader().usable(), "the layout that we know");

    const Header good = kernel.header();
    const auto is_usable_with = [&](auto member, std::uint32_t value) {
        kernel.header() = good;
        kernel.header().*member = value;
        return kernel.reader().usable();
    };
    check::is_true(!is_usable_with(&Header::magic, 0), "no magic number");
    check::is_true(!is_usable_with(&Header::magic, 0xa10a10a2), "another magic number");
    check::is_true(!is_usable_with(&Header::incompat_features, 1), "features that we don't know");
    check::is_true(!is_usable_with(&Header::header_length, 64), "a longer header");
    check::is_true(!is_usable_with(&Header::header_length, 0), "no header");
    check::is_true(!is_usable_with(&Header::nr, 0), "no places");
    check::is_true(is_usable_with(&Header::compat_features, 3), "features that don't matter");
}

void expect_inert(Ring ring, check::Where where = check::Where::current()) {
    check::is_true(!ring.usable(), "it is usable", where);
    check::is_true(!ring.has_unreleased(), "there is something to release", where);
    expect_nothing(ring, where);
    ring.release();
}

void test_no_ring() {
    expect_inert(Ring());
    expect_inert(Ring(nullptr));
    KernelRing kernel(8);
    kernel.complete(1);
    kernel.header().magic = 0;
    expect_inert(kernel.reader());
    check::equal(kernel.header().head, 0U);
}

void test_empty() {
    KernelRing kernel(8);
    auto ring = kernel.reader();
    expect_nothing(ring);
    check::is_true(!ring.has_unreleased(), "nothing was seen");
    ring.release();
    check::equal(kernel.header().head, 0U);
}

void test_peek_and_release() {
    KernelRing kernel(8);
    auto ring = kernel.reader();
    kernel.complete(1);
    kernel.complete(2);
    check::is_true(ring.has_unseen(), "two events");
    expect_events(ring, 100, {1, 2});
    expect_nothing(ring);
    check::equal(kernel.header().head, 0U);
    check::is_true(ring.has_unreleased(), "their places are held");

    kernel.complete(3);
    expect_events(ring, 100, {3});
    ring.release();
    check::equal(kernel.header().head, 3U);
    check::is_true(!ring.has_unreleased(), "their places are free");
    expect_nothing(ring);
}

void test_events_from_before() {
    KernelRing kernel(8);
    kernel.header().head = kernel.header().tail = 6;
    kernel.complete(1);
    auto ring = kernel.reader();
    expect_events(ring, 100, {1});
}

void test_wrap_around() {
    KernelRing kernel(4);
    kernel.header().head = kernel.header().tail = 2;
    auto ring = kernel.reader();
    for (const std::uint64_t number : {1, 2, 3}) {
        kernel.complete(number);
    }
    expect_events(ring, 100, {1, 2, 3});
    ring.release();
    check::equal(kernel.header().head, 1U);
}

void test_full() {
    KernelRing kernel(5);
    for (std::uint32_t start = 0; start < 5; ++start) {
        kernel.header().head = kernel.header().tail = start;
        auto ring = kernel.reader();
        for (std::uint64_t number = 0; !kernel.is_full(); ++number) {
            kernel.complete(number);
        }
        expect_events(ring, 100, {0, 1, 2, 3});
        expect_nothing(ring);
        check::is_true(kernel.is_full(), "no place is given back unasked");
        ring.release();
        check::equal(kernel.header().head, kernel.header().tail);
    }
}

void test_little_room() {
    KernelRing kernel(4);
    kernel.header().head = kernel.header().tail = 3;
    auto ring = kernel.reader();
    for (const std::uint64_t number : {1, 2, 3}) {
        kernel.complete(number);
    }
    expect_events(ring, 0, {});
    check::is_true(!ring.has_unreleased(), "no room, nothing seen");
    expect_events(ring, 2, {1, 2});
    ring.release();
    check::equal(kernel.header().head, 1U);
    check::is_true(ring.has_unseen(), "one is left");
    expect_events(ring, 2, {3});
    expect_nothing(ring);
}

void test_garbage_in_tail() {
    KernelRing kernel(4);
    auto ring = kernel.reader();
    kernel.complete(1);
    for (const std::uint32_t garbage : {4U, 5U, 0x7fffffffU, 0xffffffffU}) {
        kernel.header().tail = garbage;
        expect_nothing(ring);
        auto late = kernel.reader();
        expect_nothing(late);
    }
    kernel.header().tail = 1;
    expect_events(ring, 100, {1});
}

void test_garbage_in_head() {
    KernelRing kernel(4);
    kernel.complete(1);
    kernel.complete(2);
    for (const std::uint32_t garbage : {4U, 5U, 0x7fffffffU, 0xffffffffU}) {
        kernel.header().head = garbage;
        auto ring = kernel.reader();
        // whatever it takes for events: no more than there are places, and none beyond them
        std::array<RingEvent, 100> events;
        check::is_true(ring.peek(events) < 4, "more events than places");
        ring.release();
        check::is_true(kernel.header().head < 4 || kernel.header().head == garbage,
                       "a head of our own making is in the ring");
    }
}

void test_size_that_changes() {
    KernelRing kernel(4);
    auto ring = kernel.reader();
    kernel.header().nr = 1'000'000;
    kernel.header().tail = 900'000;
    expect_nothing(ring);
    kernel.header().tail = 0;
    kernel.complete(1);
    expect_events(ring, 100, {1});
}

void test_many_laps() {
    constexpr std::uint64_t total = 100'000;
    std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed): the same run every time
    const auto some = [&](std::size_t most) { return random() % (most + 1); };
    KernelRing kernel(13);
    auto ring = kernel.reader();
    std::uint64_t completed = 0;
    std::uint64_t seen = 0;
    bool in_order = true;
    while (seen < total) {
        for (auto left = some(12); left != 0 && !kernel.is_full(); --left) {
            kernel.complete(completed++);
        }
        for (const auto number : peek(ring, some(15))) {
            in_order = in_order && number == seen;
            ++seen;
        }
        if (some(1) == 0) {
            ring.release();
        }
    }
    check::is_true(in_order, "each event once, in order");
}

}  // namespace

int main() {
    return check::run({
        {"rings of unknown layout are not usable", test_unknown_layouts},
        {"no ring is an empty one", test_no_ring},
        {"an empty ring", test_empty},
        {"events are seen first and released later", test_peek_and_release},
        {"events from before the reader are seen", test_events_from_before},
        {"around the end", test_wrap_around},
        {"a full ring, from every start", test_full},
        {"less room than events", test_little_room},
        {"garbage in tail", test_garbage_in_tail},
        {"garbage in head", test_garbage_in_head},
        {"a size that changes is not believed", test_size_that_changes},
        {"many laps", test_many_laps},
    });
}
