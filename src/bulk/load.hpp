// SPDX-License-Identifier: Apache-2.0
// Reads any number of parts of a file into memory, with many requests in flight.
//
// The calling thread does all of it and blocks until the kernel has let go of all memory, also
// after an error, or when it is told to stop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "bulk/file.hpp"

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

struct LoadOptions {
    DirectMode direct = DirectMode::where_it_pays;
    std::size_t chunk = 0;    // bytes in one request; 0: what suits most disks
    unsigned depth = 0;       // requests in flight; 0: likewise
    std::string_view engine;  // one of engine::engine_names
};

struct LoadReport {
    int error = 0;                   // an errno, of the request at:
    std::uint64_t error_offset = 0;  //
    bool stopped = false;            // the source said so
    bool forked = false;             // this is a child process of the one that began
    bool met_end = false;            // a segment goes beyond the end of the file
    std::uint64_t loaded = 0;        // bytes, in all segments
    std::uint64_t direct = 0;        // bytes of these that were read past the page cache
    std::uint64_t cached = 0;        // bytes of these that were copied from the page cache
    const char* engine = "";
    std::size_t chunk = 0;
    unsigned depth = 0;
};

LoadReport load(const File& file, const LoadOptions& options, SegmentSource& source) noexcept;

}  // namespace bulk
