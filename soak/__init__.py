# SPDX-License-Identifier: Apache-2.0
"""A day's work in minutes: `./dev soak --minutes N`."""
