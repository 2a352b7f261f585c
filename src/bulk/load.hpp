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
#include "bulk/segment.hpp"

namespace bulk {

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
