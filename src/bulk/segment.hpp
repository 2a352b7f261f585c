// SPDX-License-Identifier: Apache-2.0
// What is to be read: parts of a file, which a source hands to the loader one after the other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bulk {

// A part of the file, and where it goes. Its source keeps it in place until it is finished.
struct Segment {
    std::uint64_t offset = 0;
    std::byte* address = nullptr;
    std::size_t length = 0;

    // The loader's: bytes not accounted for yet, and bytes read.
    std::size_t pending = 0;
    std::size_t loaded = 0;
};

enum class Next : std::uint8_t {
    segment,  // here is one
    later,    // none now, but more will come
    end,      // there are no more
    stop,     // give up
};

// Where the segments come from, and who hears that they are complete.
class SegmentSource {
public:
    virtual ~SegmentSource() = default;

    // With `may_wait` nothing is in flight: waits for the next segment, for a short time.
    virtual Next next(Segment*& segment, bool may_wait) noexcept = 0;

    // The segment has been read, or as much of it as the file has; `loaded` says how much. The
    // loader does not use it any more. False: give up.
    virtual bool finished(Segment& segment) noexcept = 0;

    // Called every few ten milliseconds with the bytes read so far. False: give up.
    virtual bool tick(std::uint64_t done) noexcept = 0;
};

}  // namespace bulk
