# SPDX-License-Identifier: Apache-2.0
"""The quarantine that other tests use notices a write to freed memory."""

from __future__ import annotations

import ctypes
import os

import pytest

from linux_aio import aligned_buffer
from support.fusefs import HoldingFS
from support.quarantine import Quarantine, careless_read

pytest_plugins = ["support.fixtures"]

NBYTES = 50_021


def address_of(buffer: bytearray) -> int:
    # the exporting object is dropped at once, so that the buffer can be freed
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def test_memory_that_nobody_writes_to_is_not_damaged(quarantine: Quarantine) -> None:
    block = bytes(NBYTES)
    assert quarantine.given_back(NBYTES) == 0
    del block
    assert quarantine.given_back(NBYTES) == 1
    assert quarantine.damaged() == 0


@pytest.mark.parametrize("offset", [0, NBYTES // 2, NBYTES - 1])
def test_a_write_of_one_byte_is_seen(offset: int, quarantine: Quarantine) -> None:
    buffer = bytearray(NBYTES)
    address = address_of(buffer)
    del buffer
    ctypes.memset(address + offset, 0, 1)
    assert quarantine.damaged() == 1


def test_a_write_to_what_resizing_left_behind_is_seen(quarantine: Quarantine) -> None:
    buffer = bytearray(NBYTES)
    address = address_of(buffer)
    buffer *= 3
    ctypes.memset(address, 0, 1)
    assert quarantine.damaged() == 1
    assert buffer == bytes(3 * NBYTES)


def test_a_write_to_what_the_extension_gave_back_is_seen(quarantine: Quarantine) -> None:
    buffer = aligned_buffer(NBYTES)
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    assert quarantine.given_back(NBYTES) == 0
    buffer.release()
    assert quarantine.given_back(NBYTES) == 1
    assert quarantine.damaged() == 0
    ctypes.memset(address, 0, 1)
    assert quarantine.damaged() == 1


@pytest.mark.needs_root
def test_a_late_write_of_the_kernel_is_seen(fs: HoldingFS, quarantine: Quarantine) -> None:
    fd = os.open(fs.create("data", b"!" * NBYTES), os.O_RDONLY | os.O_DIRECT)
    fs.hold()
    buffer = bytearray(NBYTES)
    with careless_read(fd, address_of(buffer), NBYTES):
        del buffer
        assert quarantine.damaged() == 0
        fs.release()
        assert quarantine.damaged() == 1
    os.close(fd)


@pytest.mark.needs_root
def test_a_timely_write_of_the_kernel_is_none(fs: HoldingFS, quarantine: Quarantine) -> None:
    fd = os.open(fs.create("data", b"!" * NBYTES), os.O_RDONLY | os.O_DIRECT)
    fs.hold()
    buffer = bytearray(NBYTES)
    with careless_read(fd, address_of(buffer), NBYTES):
        fs.release()
    assert buffer == b"!" * NBYTES
    del buffer
    assert quarantine.damaged() == 0
    os.close(fd)
