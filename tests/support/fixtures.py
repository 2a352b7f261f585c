# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests that hold requests in flight: `pytest_plugins = ["support.fixtures"]`.

Tests that ask for `fs` are skipped, with the reason, where it can't be mounted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from linux_aio import AIOContext
from support import any_loop as loops
from support import quarantine as quarantines
from support.files import Gate
from support.fusefs import HoldingFS, fs_available, mounted
from support.workers import finish, start


@pytest.fixture(scope="module")
def mounted_fs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HoldingFS]:
    reason = fs_available()
    if reason is not None:
        pytest.skip(reason)
    with mounted(tmp_path_factory.mktemp("fs")) as file_system:
        yield file_system


@pytest.fixture
def fs(mounted_fs: HoldingFS) -> Iterator[HoldingFS]:
    """A file system that holds requests when told to. At first it holds none."""
    yield mounted_fs
    mounted_fs.unhold()
    mounted_fs.reset()


@pytest.fixture
def fuse(tmp_path: Path) -> Iterator[HoldingFS]:
    """A file system for this test alone, mounted below its tmp_path."""
    if reason := fs_available():
        pytest.skip(reason)
    with mounted(tmp_path) as file_system:
        yield file_system


@pytest.fixture
def quarantine() -> Iterator[quarantines.Quarantine]:
    """Memory that is freed during the test is kept, and watched for writes."""
    reason = quarantines.reason_unavailable()
    if reason is not None:
        pytest.skip(reason)
    with quarantines.watching() as watched:
        yield watched


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A pipe that a poll waits for until the test opens it."""
    with Gate() as gate:
        yield gate


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    """A context. It is closed after the test; if a thread hangs in it, the test fails."""
    context = AIOContext(64)
    yield context
    finish(start(context.close))


@pytest.fixture(params=loops.KINDS)
def any_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> loops.AnyLoop:
    """asyncio, uvloop and Trio, one after the other."""
    reason = loops.reason_unavailable(request.param)
    if reason is not None:
        pytest.skip(reason)
    loop = loops.make(request.param)
    monkeypatch.setattr(loops, "current", loop)
    return loop
