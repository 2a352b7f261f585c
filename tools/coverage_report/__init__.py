# SPDX-License-Identifier: Apache-2.0
"""Which lines no test runs, and whether the source says why: the end of `./dev coverage`."""
