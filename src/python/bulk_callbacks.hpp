// SPDX-License-Identifier: Apache-2.0
// Python's side of a bulk transfer: calls that are made while it runs without the GIL.
#pragma once

#include <cstdint>

#include "python/refs.hpp"

namespace python {

// Releases the GIL while this object lives. While a Taken lives inside it, the thread has the GIL.
class LentGil {
public:
    LentGil() noexcept : state_(PyEval_SaveThread()) {}
    LentGil(const LentGil&) = delete;
    LentGil& operator=(const LentGil&) = delete;
    ~LentGil() { PyEval_RestoreThread(state_); }

    class Taken {
    public:
        explicit Taken(LentGil& gil) noexcept : gil_(gil) { PyEval_RestoreThread(gil.state_); }
        Taken(const Taken&) = delete;
        Taken& operator=(const Taken&) = delete;
        ~Taken() { gil_.state_ = PyEval_SaveThread(); }

    private:
        LentGil& gil_;
    };

private:
    PyThreadState* state_;
};

// Runs the handlers of signals, which only the main thread does, and calls `tick` with the number
// of bytes done, unless it is None. False with an exception set.
bool run_tick(PyObject* tick, std::uint64_t done);

}  // namespace python
