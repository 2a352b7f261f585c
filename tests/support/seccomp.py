# SPDX-License-Identifier: Apache-2.0
"""System calls that are refused to this process from now on, as a sandbox refuses them."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Collection
from typing import Literal

Call = Literal[
    "io_setup",
    "io_submit",
    "io_getevents",
    "io_pgetevents",
    "io_uring_setup",
    "io_uring_enter",
    "preadv2",
    "pwritev2",
    "close_range",
    "kcmp",
    "statx",
    "fstat",
    "fstatat",
    "openat",
    "openat2",
    "clone",
    "clone3",
    "cachestat",
]

# For each architecture of the process, which may differ from the kernel's: its number in
# seccomp(2), and the numbers of its calls.
_ARCHITECTURES: dict[str, tuple[int, dict[Call, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "io_setup": 206,
            "io_submit": 209,
            "io_getevents": 208,
            "io_pgetevents": 333,
            "io_uring_setup": 425,
            "io_uring_enter": 426,
            "preadv2": 327,
            "pwritev2": 328,
            "close_range": 436,
            "kcmp": 312,
            "statx": 332,
            "fstat": 5,
            "fstatat": 262,
            "openat": 257,
            "openat2": 437,
            "clone": 56,
            "clone3": 435,
            "cachestat": 451,
        },
    ),
    "i386": (
        0x40000003,
        {
            "io_setup": 245,
            "io_submit": 248,
            "io_getevents": 247,
            "io_pgetevents": 385,
            "io_uring_setup": 425,
            "io_uring_enter": 426,
            "preadv2": 378,
            "pwritev2": 379,
            "close_range": 436,
            "kcmp": 349,
            "statx": 383,
            "fstat": 197,
            "fstatat": 300,
            "openat": 295,
            "openat2": 437,
            "clone": 120,
            "clone3": 435,
            "cachestat": 451,
        },
    ),
}

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_FAIL_WITH = 0x00050000

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_OF_NUMBER, _OFFSET_OF_ARCHITECTURE = 0, 4


def reason_unavailable() -> str | None:
    """Why nothing can be refused here, or None if it can."""
    if platform.machine() not in ("x86_64", "i386", "i686"):
        return f"no numbers of system calls for {platform.machine()}"
    return None


def refuse(calls: Collection[Call], error: int) -> None:
    """Have these calls fail with this errno, in this process and its children, for ever."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(_filter(calls, error))
    memory = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    zero = ctypes.c_ulong(0)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero))
    _check(libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), program, zero, zero))


def _filter(calls: Collection[Call], error: int) -> list[bytes]:
    statements = [_statement(_LOAD, _OFFSET_OF_ARCHITECTURE)]
    for architecture, numbers in _ARCHITECTURES.values():
        body = [_statement(_LOAD, _OFFSET_OF_NUMBER)]
        for call in calls:
            body.append(_statement(_JUMP_IF_EQUAL, numbers[call], 0, 1))
            body.append(_statement(_RETURN, _FAIL_WITH | error))
        body.append(_statement(_RETURN, _ALLOW))
        statements.append(_statement(_JUMP_IF_EQUAL, architecture, 0, len(body)))
        statements += body
    statements.append(_statement(_RETURN, _ALLOW))
    return statements


def _statement(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _check(status: int) -> None:
    if status != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
