// SPDX-License-Identifier: Apache-2.0
// The states of an operation and the lists that it can be in. operation_life.hpp changes them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace python {

enum class OperationState : std::uint8_t {
    created,     // never submitted
    submitting,  // a thread has claimed it for a submission
    in_flight,   // the engine has it
    completed,   // `result` is set
};

// The list that the operation is in.
enum class Listing : std::uint8_t {
    none,
    in_flight,  // in Context::in_flight; the list owns a reference
    queued,     // in LoopBinding::queued; the awaitable owns a reference
    ready,      // in LoopBinding::ready; likewise
    owned,      // in Context::collectable; the list owns a reference
    weak,       // in Context::collectable, which owns no reference to it
};

// Whether getevents() would return the operation.
constexpr bool is_collectable(Listing listing) noexcept {
    return listing == Listing::owned || listing == Listing::weak;
}

// A value that all code may read and only OperationLife writes.
template <class Value>
class LifeOwned {
public:
    constexpr LifeOwned() noexcept = default;
    constexpr explicit LifeOwned(Value value) noexcept : value_(value) {}
    constexpr operator Value() const noexcept { return value_; }  // NOLINT: reads like the value

    // For values that are pointers to a struct.
    constexpr Value operator->() const noexcept { return value_; }

private:
    friend class OperationLife;

    Value value_{};
};

using LifeCount = LifeOwned<std::size_t>;

}  // namespace python
