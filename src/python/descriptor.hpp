// SPDX-License-Identifier: Apache-2.0
// A file or an eventfd as a program names it: by number, or by an object that has a number.
#pragma once

#include <optional>

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// The file that an operation acts on: an int, an EventFD, an AIOContext, or an object with a
// fileno() method. An object is kept, and asked for its number again at each submission.
class File {
public:
    File() = default;

    // Takes what the program gave, without asking it for its number. Returns false with an
    // exception set if it names no file, or if `moves_data` is set and the file is in text mode.
    bool assign(const ModuleState& state, PyObject* given, bool moves_data);

    // Sets a number that needs no asking, or a negative one for no file.
    void set_number(int number) noexcept { number_ = number; }

    // Returns the current number. Returns no value with an exception set if the object is closed,
    // or if it holds data back. May run Python code.
    std::optional<int> ask();

    // Whether ask() may run Python code.
    bool runs_code() const noexcept { return given_ == Given::object || given_ == Given::file; }

    // Whether the program gave the file as a number.
    bool is_number() const noexcept { return given_ == Given::number; }

    // Returns the number that the last ask() returned.
    int number() const noexcept { return number_; }

    int traverse(visitproc visit, void* arg) const;
    void clear() noexcept {
        object_.reset();
        buffered_.reset();
    }

private:
    // `ours`: an EventFD or an AIOContext, whose `fileno` is an attribute and no method. `file`: a
    // File, whose buffers the operation is not to pass by.
    enum class Given { number, ours, object, file };

    bool look_for_buffers(const ModuleState& state, PyObject* given);

    Given given_ = Given::number;
    int number_ = -1;
    Ref object_;
    Ref buffered_;  // the buffered file object, which may hold data back
};

// Returns the number of the eventfd to signal upon completion. `given` is an int, or an open
// EventFD. Returns no value with an exception set.
std::optional<int> eventfd_number(const ModuleState& state, PyObject* given);

}  // namespace python
