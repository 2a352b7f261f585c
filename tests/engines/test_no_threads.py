# SPDX-License-Identifier: Apache-2.0
"""Where no thread can be started, the work is done all the same, or an error says why not."""

from __future__ import annotations

import errno
import os
import resource
import tempfile

import pytest

from linux_aio import AIOContext, AIOOperation
from support.forked import in_child
from support.operations import perform
from support.seccomp import refuse

pytestmark = pytest.mark.engine("threads", "uring", "auto")

LARGE = 1 << 20
# A user who has no other processes, nor have tests that run at the same time.
NOBODY_ELSE = 1_000_000 + os.getpid()


def test_no_thread_at_all() -> None:
    def attempt() -> tuple[int | None, str]:
        refuse(["clone", "clone3"], errno.EAGAIN)
        with AIOContext() as context:
            try:
                perform(context, AIOOperation.write(bytes(LARGE), os.memfd_create("data")))
            except OSError as error:
                return error.errno, str(error)
        return None, ""

    number, text = in_child(attempt)
    assert number == errno.EUSERS
    assert "no thread can be started" in text


@pytest.mark.needs_root
@pytest.mark.parametrize("threads", [2, 3])
def test_no_thread_but_one(threads: int) -> None:
    """The process may have the first of ours, and maybe one more."""

    def use() -> bool:
        with tempfile.TemporaryFile() as file:
            fd = file.fileno()
            resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
            os.setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
            data = os.urandom(LARGE)
            with AIOContext(64) as context:
                for _ in range(3):
                    assert perform(context, AIOOperation.write(data, fd)) == LARGE
                    assert perform(context, AIOOperation.read(LARGE, fd)) == data
                    assert perform(context, AIOOperation.fsync(fd)) is None
                many = [AIOOperation.fdsync(fd) for _ in range(40)]
                context.submit(*many)
                assert len(context.getevents(len(many))) == len(many)
                assert all(operation.get_result() is None for operation in many)
        return True

    assert in_child(use)
