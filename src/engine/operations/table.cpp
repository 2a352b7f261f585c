// SPDX-License-Identifier: Apache-2.0
#include <cstddef>

#include "engine/operations/operations.hpp"

namespace engine {

const OperationType& type_of(Opcode opcode) noexcept {
    switch (opcode) {
            // clang-format off
        case Opcode::read:   return operations::read;
        case Opcode::write:  return operations::write;
        case Opcode::readv:  return operations::readv;
        case Opcode::writev: return operations::writev;
        case Opcode::fsync:  return operations::fsync;
        case Opcode::fdsync: return operations::fdsync;
        case Opcode::poll:   return operations::poll;
        case Opcode::call:   return operations::call;
            // clang-format on
    }
    __builtin_unreachable();
}

}  // namespace engine
