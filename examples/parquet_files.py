# SPDX-License-Identifier: Apache-2.0
"""pandas writes and reads a table through the file system "aio".

Needs pandas, pyarrow and fsspec. Any package that takes fsspec's URLs does the same.
"""

import tempfile

import pandas as pd

from linux_aio.fsspec import AioFileSystem


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = pd.DataFrame({"name": ["a", "b", "c"] * 1000, "number": range(3000)})
        # the file has its name when it is whole
        table.to_parquet(f"aio://{folder}/table.parquet")
        again = pd.read_parquet(f"aio://{folder}/table.parquet", columns=["number"])
        print(f"the sum of {len(again)} numbers is {again['number'].sum()}")

        files = AioFileSystem(durable=True)
        files.pipe({f"{folder}/{number}": b"x" * number for number in range(100)})
        print(sum(len(data) for data in files.cat(f"{folder}/*[0-9]").values()), "bytes")


if __name__ == "__main__":
    main()
