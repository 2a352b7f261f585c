# SPDX-License-Identifier: Apache-2.0
"""The engines by name: which there are, how one is chosen, and what is said of one there is not."""

from __future__ import annotations

import errno

import pytest

from linux_aio import AIOContext, AIOOperation, build_info, engines
from support.files import file_in_memory
from support.operations import perform

pytestmark = pytest.mark.engine_independent

NAMES = ["auto", "aio", "uring", "threads"]
available = [name for name, state in engines().items() if state == "available"]


def test_all_are_named_with_what_is_wrong_with_them() -> None:
    found = engines()
    assert list(found) == NAMES
    assert all(type(state) is str and state for state in found.values())
    assert found["threads"] == "available"
    assert found["auto"] == "available"


def test_the_answer_is_the_callers_own() -> None:
    engines().clear()
    assert list(engines()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_named_is_used_or_its_refusal_explained(name: str) -> None:
    state = engines()[name]
    if state != "available":
        with pytest.raises(OSError, match=name) as caught:
            AIOContext(engine=name)
        assert state in str(caught.value)
        return
    with AIOContext(8, engine=name) as context, file_in_memory(b"data") as fd:
        assert context.engine == name
        assert repr(name) in repr(context)
        assert perform(context, AIOOperation.read(4, fd)) == b"data"
    assert context.engine == name


@pytest.mark.parametrize("name", available)
def test_the_environment_chooses_where_the_program_does_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINUX_AIO_ENGINE", name)
    with AIOContext() as context:
        assert context.engine == name
    with AIOContext(engine="threads") as context:
        assert context.engine == "threads"


@pytest.mark.parametrize("setting", [None, ""])
def test_auto_is_the_default(setting: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINUX_AIO_ENGINE", raising=False)
    if setting is not None:
        monkeypatch.setenv("LINUX_AIO_ENGINE", setting)
    for engine in (None, "auto"):
        with AIOContext(engine=engine) as context:
            assert context.engine == "auto"


@pytest.mark.parametrize("name", ["posix", "AUTO", " aio", "aio,uring"])
def test_an_unknown_one_is_refused_wherever_it_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=f"'{name}'.*'auto'.*'aio'.*'uring'.*'threads'"):
        AIOContext(engine=name)
    monkeypatch.setenv("LINUX_AIO_ENGINE", name)
    with pytest.raises(ValueError, match=f"'{name}'"):
        AIOContext()


def test_what_was_built_in_agrees_with_what_there_is() -> None:
    if build_info()["uring"] == "not built in":
        assert "not built in" in engines()["uring"]
        with pytest.raises(OSError, match="not built in") as caught:
            AIOContext(engine="uring")
        assert caught.value.errno == errno.ENOTSUP
    else:
        assert build_info()["uring"].startswith("liburing ")
        assert "not built in" not in engines()["uring"]
