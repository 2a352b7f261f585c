# SPDX-License-Identifier: Apache-2.0
"""A day's work in minutes: `./dev soak --minutes N`.

It goes in rounds. In each, threads do different work at once on contexts of all engines, each byte
checked. Between rounds the process must be as it was: no descriptor, thread or ring more, and no
more memory.
"""
