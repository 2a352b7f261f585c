// SPDX-License-Identifier: Apache-2.0
#include "libaio/calls.hpp"

namespace libaio {

Calls calls{
    .setup = io_setup,
    .destroy = io_destroy,
    .submit = io_submit,
    .cancel = io_cancel,
    .getevents = io_getevents,
};

const char* implementation() noexcept { return LINUX_AIO_LIBAIO; }

}  // namespace libaio
