// SPDX-License-Identifier: Apache-2.0
// A file as a bulk transfer sees it: the same file open in two ways.
#pragma once

#include <cstdint>

#include "engine/alignment.hpp"

namespace bulk {

struct File {
    int buffered_fd = -1;         // without O_DIRECT; -1: not open this way
    int direct_fd = -1;           // with O_DIRECT; -1: not open this way
    engine::Alignment alignment;  // what direct_fd needs

    bool can_be_direct() const noexcept { return direct_fd >= 0; }
};

// When reads and writes use O_DIRECT.
enum class DirectMode : std::uint8_t {
    never,
    where_it_pays,  // for reads of data that is not in the page cache
    always,
};

}  // namespace bulk
