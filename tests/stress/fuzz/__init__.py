# SPDX-License-Identifier: Apache-2.0
"""Fuzzers: `ring/` of the completion ring, in C++, and `api` of the Python API."""
