# SPDX-License-Identifier: Apache-2.0
"""pandas, pyarrow, xarray, Dask and Ray on the file system and the store."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec")
np = pytest.importorskip("numpy")

from linux_aio.fsspec import AioFileSystem  # noqa: E402

pytestmark = [
    pytest.mark.engine_independent,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # of other packages'
]


def test_pandas_and_pyarrow(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    import pyarrow.dataset as dataset
    import pyarrow.parquet as parquet

    table = pd.DataFrame({"number": range(10_000), "name": ["a", "b"] * 5000})
    url = f"aio://{tmp_path}/table.parquet"
    table.to_parquet(url, row_group_size=1000)
    assert os.listdir(tmp_path) == ["table.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(url), table)
    pd.testing.assert_frame_equal(pd.read_parquet(url, columns=["number"]), table[["number"]])
    table.to_csv(f"aio://{tmp_path}/table.csv.gz", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(f"aio://{tmp_path}/table.csv.gz"), table)

    fs = AioFileSystem(auto_mkdir=True)
    path = str(tmp_path / "table.parquet")
    assert parquet.read_table(path, filesystem=fs).num_rows == 10_000
    parts = str(tmp_path / "parts")
    dataset.write_dataset(
        parquet.read_table(path, filesystem=fs),
        parts,
        format="parquet",
        partitioning=["name"],
        filesystem=fs,
    )
    found = dataset.dataset(parts, format="parquet", partitioning=["name"], filesystem=fs)
    assert found.to_table(filter=dataset.field("name") == "a").num_rows == 5000


def test_xarray(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    from linux_aio.zarr import AioStore

    data = xr.Dataset({"heat": (("x", "y"), np.arange(600.0).reshape(20, 30))})
    data.to_zarr(AioStore(tmp_path / "store"), mode="w", consolidated=False)
    again = xr.open_zarr(AioStore(tmp_path / "store", read_only=True), consolidated=False)
    xr.testing.assert_identical(again.load(), data)
    url = f"aio://{tmp_path}/url"
    data.to_zarr(url, mode="w", storage_options={"auto_mkdir": True}, consolidated=False)
    xr.testing.assert_identical(xr.open_zarr(url, consolidated=False).load(), data)


CHUNK = 1 << 15
CHUNKS = 60


def fill(store: Any, number: int) -> int:
    import zarr

    array = zarr.open_array(store, mode="r+")
    array[number * CHUNK : (number + 1) * CHUNK] = np.full(CHUNK, number + 1, "i8")
    time.sleep(0.02)
    return number


def chunk_is_whole(path: Path, number: int) -> bool:
    return bool((np.frombuffer(path.read_bytes(), "<i8") == number + 1).all())


@pytest.mark.long
def test_a_dask_worker_that_is_killed(tmp_path: Path) -> None:
    da = pytest.importorskip("dask.array")
    distributed = pytest.importorskip("distributed")
    zarr = pytest.importorskip("zarr")
    from linux_aio.zarr import AioStore

    store = AioStore(tmp_path / "store")
    zarr.create_array(store, shape=(CHUNK * CHUNKS,), chunks=(CHUNK,), dtype="i8", compressors=None)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(tmp_path / "scratch"),
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        work = client.map(fill, [store] * CHUNKS, range(CHUNKS), pure=False)
        distributed.wait(work[:5])
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        for number in range(CHUNKS):
            path = tmp_path / "store" / "c" / str(number)
            assert not path.exists() or chunk_is_whole(path, number)
        assert client.gather(work) == list(range(CHUNKS))  # its tasks are done again
        array = da.from_zarr(zarr.open_array(store, mode="r"))
        assert array.sum().compute() == CHUNK * sum(range(CHUNKS + 1))

        da.to_zarr(array * 2, str(tmp_path / "twice"), storage_options=None)
        again = da.from_zarr(zarr.open_array(AioStore(tmp_path / "twice"), mode="r"))
        assert again[-1].compute() == 2 * CHUNKS

        # data frames and bytes, by URLs
        dask_bytes = pytest.importorskip("dask.bytes")
        fs = AioFileSystem()
        fs.pipe({str(tmp_path / f"{number}.txt"): b"x" * number for number in range(50)})
        _, blocks = dask_bytes.read_bytes(f"aio://{tmp_path}/*.txt")
        sizes = client.compute([len_of(block) for parts in blocks for block in parts])
        assert sum(client.gather(sizes)) == sum(range(50))


def len_of(block: Any) -> Any:
    import dask

    return dask.delayed(len)(block)


@pytest.mark.long
def test_ray(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("pandas")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        table = ray.data.range(1000)
        fs = AioFileSystem(auto_mkdir=True)
        table.write_parquet(str(tmp_path / "table"), filesystem=fs)
        assert ray.data.read_parquet(str(tmp_path / "table"), filesystem=fs).count() == 1000
    finally:
        ray.shutdown()
