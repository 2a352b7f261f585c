// SPDX-License-Identifier: Apache-2.0
// Reads any number of parts of a file into memory, with many requests in flight.
//
// The calling thread submits and collects all requests. load() returns only when the kernel writes
// to none of the memory any more, even after an error or when the source told it to stop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "bulk/file.hpp"
#include "bulk/segment.hpp"

namespace bulk {

struct LoadOptions {
    DirectMode direct = DirectMode::where_it_pays;
    std::size_t chunk = 0;    // bytes in one request; 0: the default
    unsigned depth = 0;       // requests in flight; 0: the default
    std::string_view engine;  // one of engine::engine_names
};

struct LoadReport {
    int error = 0;                   // an errno
    std::uint64_t error_offset = 0;  // the offset in the file at which it occurred
    bool stopped = false;            // the source told the load to stop
    bool forked = false;             // the load began in a parent process of this one
    bool met_end = false;            // a segment goes beyond the end of the file
    // Where that was found. If the file got shorter meanwhile, requests behind it may have read
    // bytes before, which `loaded` counts.
    std::uint64_t end_of_file = UINT64_MAX;
    std::uint64_t loaded = 0;  // bytes, in all segments
    std::uint64_t direct = 0;  // how many of them were read with O_DIRECT
    std::uint64_t cached = 0;  // how many of them were copied from the page cache
    const char* engine = "";
    std::size_t chunk = 0;
    unsigned depth = 0;
};

LoadReport load(const File& file, const LoadOptions& options, SegmentSource& source) noexcept;

}  // namespace bulk
