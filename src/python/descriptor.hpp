// SPDX-License-Identifier: Apache-2.0
// A file or an eventfd, as programs name it: by number, or as an object that knows its number.
#pragma once

#include <optional>

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// What an operation acts on: an int, an EventFD, an AIOContext, or an object with a fileno()
// method. Objects are kept, and asked again at each submission.
class File {
public:
    File() = default;

    // Takes what the program gave, without asking it. False with an exception set if it names no
    // file, or if `moves_data` is set and it is in text mode.
    bool assign(const ModuleState& state, PyObject* given, bool moves_data);

    // A number that is not to be asked for, or none.
    void set_number(int number) noexcept { number_ = number; }

    // The number as it is now; no value with an exception set if the object is closed, or holds
    // data of its own. May run Python code.
    std::optional<int> ask();

    // Whether ask() may run Python code.
    bool runs_code() const noexcept { return given_ == Given::object; }

    // Whether it was given as a number.
    bool is_number() const noexcept { return given_ == Given::number; }

    // The number as it was last asked for.
    int number() const noexcept { return number_; }

    int traverse(visitproc visit, void* arg) const;
    void clear() noexcept {
        object_.reset();
        buffered_.reset();
    }

private:
    // `ours`: an EventFD or an AIOContext, which have no method but an attribute.
    enum class Given { number, ours, object };

    Given given_ = Given::number;
    int number_ = -1;
    Ref object_;
    Ref buffered_;  // what may hold data of its own
};

// The number of what is to be signalled upon completion: an int, or an EventFD that is open.
// No value with an exception set.
std::optional<int> eventfd_number(const ModuleState& state, PyObject* given);

}  // namespace python
