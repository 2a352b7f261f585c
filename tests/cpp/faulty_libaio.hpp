// SPDX-License-Identifier: Apache-2.0
// Stands between the engines and libaio, and makes calls fail or fall short when a test says so.
//
// The faults of a call wait in a queue: the first one passes over `after` calls, then meets `times`
// of them, and then it is the next one's turn. Calls that no fault meets are libaio's own.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "libaio/calls.hpp"

namespace faulty_libaio {

enum class Call { setup, destroy, submit, cancel, getevents };

inline constexpr std::array<std::string_view, 5> call_names{"setup", "destroy", "submit", "cancel",
                                                            "getevents"};

inline constexpr int no_limit = -1;
inline constexpr int for_ever = -1;

struct Fault {
    int error = 0;           // the errno that the call fails with; the kernel does not see it
    int at_most = no_limit;  // of submit and getevents: the kernel sees no larger count
    int after = 0;
    int times = 1;
    int signal = 0;  // raised in the thread that calls, as one is when a call fails with EINTR
};

// Puts the shim into the table. To be done before threads make calls through it.
void install(libaio::Calls& table);

void inject(Call call, Fault fault);

// Forgets all faults and counts.
void clear();

// How often the call was made, whatever became of it.
long count(Call call);

std::optional<Call> call_named(std::string_view name);

}  // namespace faulty_libaio
