// SPDX-License-Identifier: Apache-2.0
// The files whose position a request of ours is moving. The kernel holds the lock of the position
// meanwhile, so whoever asks where such a file stands waits for as long as the request.
#pragma once

namespace python {

// Begins or ends to count a request at the position of the file with this number.
void begin_moving(int fd) noexcept;
void end_moving(int fd) noexcept;

// Whether a request may be moving the file's position. Also true, now and then, for other files.
bool may_be_moving(int fd) noexcept;

}  // namespace python
