// SPDX-License-Identifier: Apache-2.0
// All operations.
#pragma once

#include "engine/operations/operation_type.hpp"

namespace engine::operations {

extern const OperationType read;
extern const OperationType write;
extern const OperationType readv;
extern const OperationType writev;
extern const OperationType fsync;
extern const OperationType fdsync;
extern const OperationType poll;
extern const OperationType call;

}  // namespace engine::operations
