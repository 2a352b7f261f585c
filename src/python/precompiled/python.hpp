// SPDX-License-Identifier: Apache-2.0
// As engine/precompiled/standard.hpp, with Python's header before it.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "engine/precompiled/standard.hpp"
