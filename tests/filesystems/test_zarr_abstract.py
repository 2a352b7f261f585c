# SPDX-License-Identifier: Apache-2.0
"""zarr's own tests of stores, as they come with the installed zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("zarr")
pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from zarr.core.buffer import Buffer, cpu
from zarr.core.sync import sync
from zarr.storage import LocalStore
from zarr.testing.stateful import ZarrHierarchyStateMachine, ZarrStoreStateMachine
from zarr.testing.store import StoreTests

from linux_aio.zarr import AioStore

pytest_plugins = ["support.coroutine_tests"]

COROUTINES = True


class TestStore(StoreTests[AioStore, cpu.Buffer]):  # type: ignore[misc]
    store_cls = AioStore
    buffer_cls = cpu.Buffer

    # what is looked at beside the store
    async def set(self, store: AioStore, key: str, value: Buffer) -> None:
        path = store.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())

    async def get(self, store: AioStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes((store.root / key).read_bytes())

    @pytest.fixture
    def store_kwargs(self, tmp_path: Path) -> dict[str, Any]:
        return {"root": tmp_path}

    # fixtures that are coroutines would need a plugin
    @pytest.fixture
    def store(self, open_kwargs: dict[str, Any]) -> AioStore:
        store: AioStore = sync(AioStore.open(**open_kwargs))
        return store

    @pytest.fixture
    def store_not_open(self, store_kwargs: dict[str, Any]) -> AioStore:
        return AioStore(**store_kwargs)

    def test_store_repr(self, store: AioStore) -> None:
        assert str(store) == f"aio://{store.root}"
        assert repr(store) == f"AioStore('aio://{store.root}')"

    def test_store_supports_writes(self, store: AioStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: AioStore) -> None:
        assert store.supports_listing


SETTINGS = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(300)
def test_stateful_store(tmp_path: Path) -> None:
    store = sync(AioStore.open(tmp_path))
    machine: Any = lambda: ZarrStoreStateMachine(store)  # noqa: E731
    run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # of zarr's, about types of data
def test_stateful_hierarchy(tmp_path: Path) -> None:
    store = sync(AioStore.open(tmp_path))
    machine: Any = lambda: ZarrHierarchyStateMachine(store)  # noqa: E731
    run_state_machine_as_test(machine, settings=SETTINGS)


def test_it_is_held_to_what_the_local_store_does() -> None:
    """All that LocalStore has, AioStore has."""
    missing = {name for name in dir(LocalStore) if not name.startswith("__")} - set(dir(AioStore))
    assert missing == set()
