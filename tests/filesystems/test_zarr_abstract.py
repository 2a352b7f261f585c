# SPDX-License-Identifier: Apache-2.0
"""zarr's own tests of stores, as they come with the installed zarr."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

pytest.importorskip("zarr")
pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from zarr.core.buffer import Buffer, cpu
from zarr.core.sync import sync
from zarr.storage import LocalStore
from zarr.testing.stateful import ZarrHierarchyStateMachine, ZarrStoreStateMachine
from zarr.testing.store import StoreTests
from zarr.testing.strategies import keys

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


# The programs differ from run to run all the same: Hypothesis takes strings from the modules that
# are loaded. No shrinking: it would go on for longer than the test may, and hide what failed.
SETTINGS = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class KeysOfFiles(ZarrStoreStateMachine):  # type: ignore[misc]
    """zarr's model, with keys as folders can hold them: none is both a file and a folder."""

    def __init__(self, store: AioStore) -> None:
        super().__init__(store)
        self.folders: set[str] = set()  # they stay when the last key in them is deleted

    @rule(key=keys(), data=st.binary(max_size=100))
    def set(self, key: str, data: bytes) -> None:
        folders = {str(folder) for folder in PurePosixPath(key).parents}
        assume(key not in self.folders and folders.isdisjoint(self.model))
        super().set(key=key, data=data)
        self.folders |= folders

    @rule()
    def clear(self) -> None:
        super().clear()
        self.folders.clear()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_stateful_store(tmp_path: Path) -> None:
    store = sync(AioStore.open(tmp_path))
    machine: Any = lambda: KeysOfFiles(store)  # noqa: E731
    run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.long
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
