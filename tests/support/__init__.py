# SPDX-License-Identifier: Apache-2.0
"""Helpers of the tests: file systems that hold, delay or fail requests, loops, faults and more.

`support.fusefs` mounts a file system whose answers a test controls. `support.mounts` mounts real
file systems on loop devices, and small ones in memory. Neither imports `linux_aio`.
"""
