# SPDX-License-Identifier: Apache-2.0
"""Dask workers fill an array in a folder that all of them see, and add up what it has.

Needs dask, distributed, numpy and zarr. On several machines the folder is on a mount that all of
them have, and Client() gets the address of the scheduler.
"""

import tempfile

import dask.array as da
import numpy as np
import zarr
from dask.distributed import Client, LocalCluster

from linux_aio.zarr import AioStore

CHUNK = 1 << 16
CHUNKS = 32


def fill(store: AioStore, number: int) -> int:
    """In a worker: write one chunk. If the worker is lost, the chunk is whole or absent."""
    array = zarr.open_array(store, mode="r+")
    array[number * CHUNK : (number + 1) * CHUNK] = np.full(CHUNK, number, "i8")
    return number


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        store = AioStore(folder)  # pickles by its folder
        zarr.create_array(store, shape=(CHUNK * CHUNKS,), chunks=(CHUNK,), dtype="i8")
        client.gather(client.map(fill, [store] * CHUNKS, range(CHUNKS), pure=False))
        array = da.from_zarr(zarr.open_array(store, mode="r"))
        print(f"{array.sum().compute()} is the sum, {array.nbytes >> 20} MiB were read")


if __name__ == "__main__":
    main()
