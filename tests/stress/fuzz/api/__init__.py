# SPDX-License-Identifier: Apache-2.0
"""Random programs against the public API, each byte checked: `./dev fuzz api --seconds N`.

A program is made of a seed and a number, and does anything that a program may do, and much that it
may not, on files of many kinds, with faults. What it does at once is kept such that it is known
what must come of it: an operation has the part of the file that it touches to itself.
"""
