# SPDX-License-Identifier: Apache-2.0
"""A user whose limit of locked memory has no room for a ring, on kernels that count rings."""

from __future__ import annotations

import errno
import os
import resource

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation
from support.forked import in_child
from support.operations import perform

pytestmark = [pytest.mark.engine("auto", "uring"), pytest.mark.needs_root]

NOBODY_ELSE = 1_200_000 + os.getpid()


@pytest.mark.parametrize("limit", [0, 1 << 14, 1 << 16])
def test_a_limit_that_has_no_room(limit: int) -> None:
    """Whether there is io_uring is told when a context is made, and auto does without."""

    def use() -> bool:
        fd = os.memfd_create("data")
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        os.setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
        with AIOContext(engine="auto") as context:
            assert perform(context, AIOOperation.write(bytes(1 << 20), fd)) == 1 << 20
        if linux_aio.engines()["uring"] == "available":
            with AIOContext(engine="uring") as context:
                assert perform(context, AIOOperation.fsync(fd)) is None
            return True
        try:
            AIOContext(engine="uring").close()
        except OSError as error:
            return error.errno in (errno.ENOMEM, errno.EPERM, errno.ENOSYS, errno.ENOTSUP)
        return False

    assert in_child(use)
