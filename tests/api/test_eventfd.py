# SPDX-License-Identifier: Apache-2.0
"""EventFD: the kernel's counter, its arguments, waiting, and its end."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from linux_aio import EventFD
from support.files import is_readable
from support.measure import is_open
from support.signals import AlarmError, alarm, raising_alarm

pytestmark = pytest.mark.engine_independent

LARGEST_COUNT = 2**64 - 2


# What it counts


def test_counter_starts_at_zero() -> None:
    with EventFD(flags=os.EFD_NONBLOCK) as efd, pytest.raises(BlockingIOError):
        efd.read()


@pytest.mark.parametrize("initval", [1, 7, 2**32 - 1])
def test_counter_starts_at_initval(initval: int) -> None:
    with EventFD(initval) as efd:
        assert efd.read() == initval


def test_read_gives_the_sum_of_what_was_written_and_resets_it() -> None:
    with EventFD(1, os.EFD_NONBLOCK) as efd:
        efd.write()
        efd.write(40)
        assert efd.read() == 42
        with pytest.raises(BlockingIOError):
            efd.read()


def test_semaphore_counts_down_by_one() -> None:
    with EventFD(2, os.EFD_SEMAPHORE | os.EFD_NONBLOCK) as efd:
        assert [efd.read(), efd.read()] == [1, 1]
        with pytest.raises(BlockingIOError):
            efd.read()


def test_writing_zero_adds_nothing() -> None:
    with EventFD(flags=os.EFD_NONBLOCK) as efd:
        efd.write(0)
        assert not is_readable(efd.fileno)


def test_counter_goes_up_to_its_limit_and_no_further() -> None:
    with EventFD(flags=os.EFD_NONBLOCK) as efd:
        efd.write(LARGEST_COUNT)
        with pytest.raises(BlockingIOError):
            efd.write()
        assert efd.read() == LARGEST_COUNT


def test_fileno_is_what_the_os_module_and_select_take() -> None:
    with EventFD() as efd:
        assert not is_readable(efd.fileno)
        os.eventfd_write(efd.fileno, 3)
        assert is_readable(efd.fileno)
        assert os.eventfd_read(efd.fileno) == 3


# Its arguments


@pytest.mark.parametrize(
    ("initval", "error"),
    [
        (-1, ValueError),
        (2**32, ValueError),
        (2**64, ValueError),
        ("1", TypeError),
        (1.0, TypeError),
        (None, TypeError),
    ],
)
def test_bad_initval_is_refused(initval: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        EventFD(initval)


@pytest.mark.parametrize(
    ("flags", "error"), [(-1, ValueError), (2**31, ValueError), (2, OSError), ("", TypeError)]
)
def test_bad_flags_are_refused(flags: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        EventFD(0, flags)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, ValueError),
        (2**64 - 1, ValueError),
        (2**64, ValueError),
        ("1", TypeError),
        (1.0, TypeError),
        (None, TypeError),
    ],
)
def test_bad_value_is_refused_and_not_counted(value: Any, error: type[Exception]) -> None:
    with EventFD(flags=os.EFD_NONBLOCK) as efd:
        with pytest.raises(error):
            efd.write(value)
        assert not is_readable(efd.fileno)


def test_arguments_have_names() -> None:
    with EventFD(initval=2, flags=os.EFD_NONBLOCK) as efd:
        efd.write(value=3)
        assert efd.read() == 5


@pytest.mark.parametrize(
    ("arguments", "keywords"), [((0, 0, 0), {}), ((), {"value": 1}), ((0,), {"initval": 0})]
)
def test_wrong_arguments_are_a_type_error(
    arguments: tuple[int, ...], keywords: dict[str, int]
) -> None:
    make: Any = EventFD
    with pytest.raises(TypeError):
        make(*arguments, **keywords)


@pytest.mark.parametrize("arguments", [{"nonsense": 1}, {"value": 1, "nonsense": 2}])
def test_wrong_arguments_of_write_are_a_type_error(arguments: dict[str, Any]) -> None:
    with EventFD(5) as eventfd:
        with pytest.raises(TypeError, match=r"write.*nonsense"):
            eventfd.write(**arguments)
        assert eventfd.read() == 5


def test_programs_that_are_executed_do_not_get_it_unless_told() -> None:
    with EventFD() as by_default, EventFD(flags=os.EFD_CLOEXEC) as told_not, EventFD(0, 0) as told:
        assert not os.get_inheritable(by_default.fileno)
        assert not os.get_inheritable(told_not.fileno)
        assert os.get_inheritable(told.fileno)


# Waiting


def test_read_lets_other_threads_run_while_it_waits() -> None:
    with EventFD() as efd:
        writer = threading.Timer(0.02, efd.write, [5])
        writer.start()
        assert efd.read() == 5
        writer.join()


def test_write_lets_other_threads_run_while_it_waits() -> None:
    counts = []
    with EventFD() as efd:
        efd.write(LARGEST_COUNT)
        reader = threading.Timer(0.02, lambda: counts.append(efd.read()))
        reader.start()
        efd.write(9)
        reader.join()
        assert counts == [LARGEST_COUNT]
        assert efd.read() == 9


def test_read_goes_on_after_a_signal() -> None:
    with EventFD() as efd, alarm(lambda: efd.write(2)):
        assert efd.read() == 2


def test_read_ends_when_a_signals_handler_raises() -> None:
    with EventFD() as efd:
        with pytest.raises(AlarmError), raising_alarm():
            efd.read()
        efd.write(3)
        assert efd.read() == 3


# Its end


def test_close_closes_the_descriptor() -> None:
    efd = EventFD()
    fd = efd.fileno
    assert not efd.closed
    efd.close()
    assert efd.closed
    assert not is_open(fd)


def test_closing_twice_does_not_close_another_file() -> None:
    efd = EventFD()
    fd = efd.fileno
    efd.close()
    os.dup2(2, fd)  # the number is somebody else's now
    try:
        efd.close()
        del efd
        gc.collect()
        assert is_open(fd)
    finally:
        os.close(fd)


def test_with_gives_the_eventfd_and_closes_it() -> None:
    efd = EventFD()
    with efd as entered:
        assert entered is efd
    assert efd.closed


def test_with_closes_and_passes_on_an_exception() -> None:
    efd = EventFD()
    with pytest.raises(KeyError), efd:
        raise KeyError
    assert efd.closed


USES: dict[str, Callable[[EventFD], object]] = {
    "read": lambda efd: efd.read(),
    "write": lambda efd: efd.write(),
    "fileno": lambda efd: efd.fileno,
    "with": lambda efd: efd.__enter__(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_use_of_a_closed_eventfd_is_a_value_error(use: Callable[[EventFD], object]) -> None:
    efd = EventFD()
    efd.close()
    with pytest.raises(ValueError, match="closed"):
        use(efd)


def test_collection_closes_the_descriptor() -> None:
    efd = EventFD()
    fd = efd.fileno
    del efd
    gc.collect()
    assert not is_open(fd)


@pytest.mark.parametrize("name", ["fileno", "closed"])
def test_attributes_are_read_only(name: str) -> None:
    with EventFD() as efd, pytest.raises(AttributeError):
        setattr(efd, name, 1)


def test_every_eventfd_equals_only_itself() -> None:
    with EventFD() as one, EventFD() as other:
        assert one != other
        assert {one: 1, other: 2}[one] == 1


def test_repr_tells_the_number_or_that_it_is_closed() -> None:
    efd = EventFD()
    assert f"fileno={efd.fileno}" in repr(efd)
    efd.close()
    assert "closed" in repr(efd)
