// SPDX-License-Identifier: Apache-2.0
// Segments: the parts of a file that a load reads. A source gives them to the loader one by one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bulk {

// A part of the file, and the memory that it is read to. The source must not move or delete the
// Segment before finished() is called for it.
struct Segment {
    std::uint64_t offset = 0;
    std::byte* address = nullptr;
    std::size_t length = 0;

    // The loader sets these: how many bytes are still to be read, and how many were read.
    std::size_t pending = 0;
    std::size_t loaded = 0;
};

enum class Next : std::uint8_t {
    segment,  // a segment was returned
    later,    // there is no segment now, but there will be
    end,      // there are no more segments
    stop,     // the load is to stop
};

// Gives the loader its segments, and is told when each is complete.
class SegmentSource {
public:
    virtual ~SegmentSource() = default;

    // Returns the next segment. With `may_wait`, waits a short time for it: nothing is in flight.
    virtual Next next(Segment*& segment, bool may_wait) noexcept = 0;

    // The segment has been read, or the part of it before the end of the file; `loaded` is how many
    // bytes. The loader no longer uses the segment. Returns false to stop the load.
    virtual bool finished(Segment& segment) noexcept = 0;

    // Called about every tick_interval with the number of bytes read so far. Returns false to stop
    // the load.
    virtual bool tick(std::uint64_t done) noexcept = 0;
};

}  // namespace bulk
