// SPDX-License-Identifier: Apache-2.0
// A libFuzzer target: the completion ring as the kernel would never leave it. However wrong its
// header is, and whatever it becomes while it is read, no byte outside of it is read or written.
//
// The input is a header, how many places there are memory for, and a list of steps: looks at the
// ring, and changes to it in between. AddressSanitizer watches both ends of the memory.
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "libaio/abi.hpp"
#include "libaio/ring.hpp"

#include <libaio.h>

namespace {

using kernel::RingHeader;
using libaio::Ring;
using libaio::RingEvent;

constexpr std::uint32_t most_places = 64;

// Takes the input apart. When it is used up there are only zeros.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

    bool is_empty() const { return rest_.empty(); }

    template <class Value>
    Value take() {
        Value value{};
        const auto size = std::min(sizeof value, rest_.size());
        std::memcpy(&value, rest_.data(), size);
        rest_ = rest_.subspan(size);
        return value;
    }

private:
    std::span<const std::uint8_t> rest_;
};

void check(bool condition) {
    if (!condition) {
        std::abort();
    }
}

// The memory of a ring, to the byte. What a kernel gives is never smaller than its header says: so
// a header that claims more places than there are is not for us to survive, and is cut to size.
class Memory {
public:
    explicit Memory(Input& input) {
        auto header = input.take<RingHeader>();
        const auto choice = input.take<std::uint8_t>();
        if ((choice & 1U) != 0) {  // else nearly no input would get any further
            header.magic = 0xa10a10a1;
            header.incompat_features = 0;
            header.header_length = sizeof header;
        }
        header.nr %= most_places + 1;
        places_ = header.nr;
        bytes_ = std::make_unique<std::byte[]>(sizeof header + places_ * sizeof(RingEvent));
        std::memcpy(bytes_.get(), &header, sizeof header);
        for (std::uint32_t place = 0; place < places_; ++place) {
            event(place) = {.data = place, .obj = 0, .res = 0, .res2 = 0};
        }
    }

    RingHeader& header() { return *reinterpret_cast<RingHeader*>(bytes_.get()); }
    std::uint32_t places() const { return places_; }

private:
    RingEvent& event(std::uint32_t place) {
        return reinterpret_cast<RingEvent*>(bytes_.get() + sizeof(RingHeader))[place];
    }

    std::unique_ptr<std::byte[]> bytes_;
    std::uint32_t places_ = 0;
};

void look(Ring& ring, Memory& memory, std::size_t at_most) {
    // to the byte, so that an event too many is seen
    const auto events = std::make_unique<RingEvent[]>(at_most);
    const auto count = ring.peek({events.get(), at_most});
    check(count <= at_most);
    check(ring.usable() ? count < memory.places() || count == 0 : count == 0);
    for (std::size_t number = 0; number < count; ++number) {
        check(events[number].data < memory.places());
    }
}

// The fallback's own question, and the call that it may spare.
void take_without_waiting(Memory& memory) {
    std::array<io_event, 4> events{};
    timespec at_once{};
    auto* context = reinterpret_cast<io_context_t>(&memory.header());
    // It is no context of the kernel's: 0 for an empty ring, else the kernel's EINVAL.
    const int result = io_getevents(context, 0, events.size(), events.data(), &at_once);
    check(result == 0 || result == -EINVAL || result == -ENOSYS);
}

void step(Ring& ring, Memory& memory, Input& input) {
    auto& header = memory.header();
    switch (input.take<std::uint8_t>() % 8) {
        case 0:
            header.tail = input.take<std::uint32_t>();
            break;
        case 1:
            header.head = input.take<std::uint32_t>();
            break;
        case 2:
            header.nr = input.take<std::uint32_t>();  // was read once: of no consequence
            break;
        case 3:
            header.tail = memory.places() != 0 ? input.take<std::uint8_t>() % memory.places() : 0;
            break;
        case 4:
            ring.release();
            check(!ring.has_unreleased());
            break;
        case 5:
            take_without_waiting(memory);
            break;
        case 6:
            check(!ring.has_unseen() || ring.usable());
            break;
        default:
            look(ring, memory, input.take<std::uint8_t>());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    Memory memory(input);
    Ring ring(&memory.header());
    check(!ring.usable() || memory.places() != 0);
    while (!input.is_empty()) {
        step(ring, memory, input);
    }
    return 0;
}
