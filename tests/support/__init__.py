# SPDX-License-Identifier: Apache-2.0
"""What the tests need of the machine: file systems that hold, delay or fail requests when told.

`support.fusefs` mounts a file system whose answers a test commands, `support.mounts` real ones on
loop devices and small ones in memory. Neither imports `linux_aio`.
"""
