# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged survives a loss of power: `./dev durability --cuts N`.

Killing a process proves nothing, since the page cache outlives it. So a process appends records to
a file of a FUSE file system that keeps apart what was written from what was synced, and whose power
is cut at a random moment. Each record that the process had reported as safe must be on the disk.
"""
