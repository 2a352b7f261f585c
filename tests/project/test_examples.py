# SPDX-License-Identifier: Apache-2.0
"""The examples run as they stand, and keep their word."""

from __future__ import annotations

import ast
import asyncio
import fcntl
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import pytest

from linux_aio import AIOContext
from support.paths import TOP

pytestmark = pytest.mark.engine_independent

EXAMPLES = TOP / "examples"

# Packages that are not installed everywhere.
NEEDS = {
    "aiofile_context.py": ["aiofile"],
    "dask_zarr.py": ["dask.array", "distributed", "zarr"],
    "parquet_files.py": ["fsspec", "pandas", "pyarrow"],
    "trio_static_files.py": ["trio"],
}


def run_example(name: str, directory: Path) -> str:
    """Run it by itself, with warnings as errors; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", EXAMPLES / name],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    assert run_example(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_eventfd_loop_reads_what_it_wrote(tmp_path: Path) -> None:
    printed = run_example("eventfd_loop.py", tmp_path).splitlines()
    assert printed == ["b'Hello world'", "b'Hello from async world'"]


def test_aiofile_reads_what_it_wrote(tmp_path: Path) -> None:
    pytest.importorskip("aiofile")
    printed = run_example("aiofile_context.py", tmp_path).splitlines()
    # a write, a sync, a read, and the sync of aiofile's close()
    assert printed == ["world", "4 operations"]


# exact.py, with a context whose transfers are short


def load_example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


class ShortContext:
    """Does at most `limit` bytes of what it is asked for."""

    def __init__(self, context: AIOContext, limit: int) -> None:
        self.context = context
        self.limit = limit

    async def read(self, nbytes: int, file: BinaryIO, offset: int) -> bytes:
        return await self.context.read(min(nbytes, self.limit), file, offset)

    async def readinto(self, buffer: memoryview, file: BinaryIO, offset: int) -> int:
        return await self.context.readinto(buffer[: self.limit], file, offset)

    async def write(self, payload: memoryview, file: BinaryIO, offset: int) -> int:
        return await self.context.write(payload[: self.limit], file, offset)


@pytest.mark.parametrize("limit", [1, 4, 10, 11, 100])
def test_exact_does_it_all_by_short_steps(
    limit: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exact = load_example("exact", monkeypatch)

    async def main() -> None:
        with (tmp_path / "file").open("w+b", buffering=0) as file:
            async with AIOContext() as context:
                ctx = ShortContext(context, limit)
                await exact.write_all(ctx, b"Hello world", file, 3)
                assert (tmp_path / "file").read_bytes() == b"\0\0\0Hello world"
                assert await exact.read_exactly(ctx, 11, file, 3) == b"Hello world"
                assert await exact.read_exactly(ctx, 0, file, 3) == b""
                buffer = bytearray(11)
                await exact.fill(ctx, buffer, file, 3)
                assert buffer == b"Hello world"
                for nbytes in (1, 12):
                    with pytest.raises(EOFError, match="byte 14"):
                        await exact.read_exactly(ctx, nbytes, file, 15 - nbytes)
                    with pytest.raises(EOFError, match="byte 14"):
                        await exact.fill(ctx, bytearray(nbytes), file, 15 - nbytes)

    asyncio.run(main())


def test_exact_reports_a_disk_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = load_example("exact", monkeypatch)

    class Full:
        async def write(self, _payload: memoryview, _file: BinaryIO, _offset: int) -> int:
            return 0

    with pytest.raises(OSError, match="nothing was written at byte 7"):
        asyncio.run(exact.write_all(Full(), b"x", None, 7))


# random_reads.py, with a file that is small enough to make many


@pytest.fixture
def random_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = load_example("random_reads", monkeypatch)
    monkeypatch.setattr(module, "FILE_SIZE", 100 * module.BLOCK_SIZE)
    monkeypatch.chdir(tmp_path)
    return module


def run_example_here(
    random_reads: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["random_reads.py", *arguments])
    random_reads.main()


def test_random_reads_tells_what_it_did(
    random_reads: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example_here(random_reads, monkeypatch)
    printed = capsys.readouterr().out
    assert "100 reads of 4096 bytes" in printed
    rows = [line.split() for line in printed.splitlines()]
    assert [row[-3] for row in rows if row[:1] in (["linux_aio,"], ["os.preadv"])] == ["32", "1"]


def test_random_reads_leaves_the_named_file_and_uses_it_again(
    random_reads: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_example_here(random_reads, monkeypatch, "--file", "here")
    before = Path("here").stat()
    run_example_here(random_reads, monkeypatch, "--file", "here")
    after = Path("here").stat()
    assert before.st_size == random_reads.FILE_SIZE
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert os.listdir(tmp_path) == ["here"]


@pytest.mark.parametrize("size", [0, 5, 100 * 4096])
def test_random_reads_leaves_files_of_others_alone(
    random_reads: ModuleType, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    Path("precious").write_bytes(b"\1" * size)
    with pytest.raises(SystemExit, match="precious exists"):
        run_example_here(random_reads, monkeypatch, "--file", "precious")
    assert Path("precious").read_bytes() == b"\1" * size


def test_random_reads_says_why_it_has_no_file(
    random_reads: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="No such file or directory"):
        run_example_here(random_reads, monkeypatch, "--file", "nowhere/here")


@pytest.mark.parametrize("position", [0, 4095, 4096, 100 * 4096 - 1])
def test_random_reads_notices_a_wrong_byte(
    random_reads: ModuleType, tmp_path: Path, position: int
) -> None:
    content = bytearray(random_reads.FILE_SIZE)
    (tmp_path / "file").write_bytes(content)
    content[position] = 1
    offsets = list(range(0, random_reads.FILE_SIZE, random_reads.BLOCK_SIZE))
    with (tmp_path / "file").open("rb") as file:
        with pytest.raises(SystemExit, match="wrong"):
            asyncio.run(random_reads.read_many_at_a_time(file.fileno(), offsets, bytes(content)))
        with pytest.raises(SystemExit, match="wrong"):
            random_reads.read_one_by_one(file.fileno(), offsets, bytes(content))


@pytest.mark.parametrize("blocks_suit", [True, False])
def test_random_reads_opens_directly_where_it_can(
    blocks_suit: bool, random_reads: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(random_reads.FILE_SIZE))
    if not blocks_suit:
        monkeypatch.setattr(
            random_reads, "direct_alignment", lambda _fd: (512, 2 * random_reads.BLOCK_SIZE)
        )
    fd, is_direct = random_reads.open_to_read(path)
    try:
        assert bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT) is is_direct
        assert blocks_suit or not is_direct
        assert random_reads.read_one_by_one(fd, [0], bytes(random_reads.FILE_SIZE)) > 0
    finally:
        os.close(fd)


def test_replace_config_keeps_the_mode_and_the_other_settings(tmp_path: Path) -> None:
    assert run_example("replace_config.py", tmp_path) == '{\n  "port": 8080\n}\n'


def test_hash_tree_agrees_with_sha256sum(tmp_path: Path) -> None:
    printed = run_example("hash_tree.py", tmp_path).splitlines()
    files = sorted(path for path in EXAMPLES.rglob("*") if path.is_file())
    expected = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in files]
    assert [line for line in printed if ".pyc" not in line] == [
        line for line in expected if ".pyc" not in line
    ]


APPEND = """
import asyncio, itertools, sys
sys.path.insert(0, sys.argv[1])
from group_commit import Log
async def main():
    log, records = await Log.open(sys.argv[2])
    numbers = itertools.count(len(records))
    async def append():
        while True:
            number = next(numbers)
            await log.append(b"%d" % number)
            print(number, flush=True)
    print("ready", flush=True)
    await asyncio.gather(*(append() for _ in range(20)))
asyncio.run(main())
"""


def test_group_commit_loses_nothing_that_it_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load_example("group_commit", monkeypatch)
    path = tmp_path / "log"
    for round_number in range(6):
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", APPEND, EXAMPLES, path],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        lines = [child.stdout.readline() for _ in range(10 + 17 * round_number)]
        child.kill()
        lines += child.stdout.read().splitlines(keepends=True)
        child.wait()
        child.stdout.close()
        confirmed = [int(line) for line in lines if line.endswith("\n")]
        records, length = module.recover(path.read_bytes())
        assert [int(record) for record in records] == list(range(len(records)))
        assert max(confirmed) < len(records)
        with path.open("ab") as file:  # as a loss of power may leave it
            file.write(module.frame(b"torn")[: 2 * round_number])
        assert module.recover(path.read_bytes())[1] == length


def test_group_commit_recovers_what_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_example("group_commit", monkeypatch)
    records = [b"", b"one", bytes(1000), b"last"]
    data = b"".join(map(module.frame, records))
    assert module.recover(data) == (records, len(data))
    for length in range(len(data)):
        found, end = module.recover(data[:length])
        assert found == records[: len(found)]
        assert end == len(b"".join(map(module.frame, found)))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        found, _ = module.recover(bytes(damaged))
        assert found == records[: len(found)]


# The code in the documents


def code_blocks(text: str) -> Iterator[str]:
    """What follows `.. code-block:: python` and `::`."""
    pattern = r"^(?:\.\. code-block:: python|(?!\.\.).*::)\n\n((?:    .*\n|\n)+)"
    for block in re.findall(pattern, text, re.MULTILINE):
        yield textwrap.dedent(block)


def is_whole_program(block: str) -> bool:
    """Whether it imports what it uses, and can be run as it stands."""
    try:
        compile(block, "block", "exec")
        body = ast.parse(block).body
    except SyntaxError:  # no Python, or a part of a coroutine
        return False
    return any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in body)


def imported(program: str) -> set[str]:
    """The packages that it imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def prepare_files(folder: Path) -> None:
    """The files that the programs name."""
    (folder / "backup").mkdir()
    for name in ("table.bin", "weights.bin", "data.bin", "disk.img"):
        (folder / name).write_bytes(os.urandom(1 << 20))
    for name in ("names.txt", "table.csv"):
        (folder / name).write_text("a,b\nc,d\n")


def prepare_arrays(folder: Path) -> None:
    numpy = pytest.importorskip("numpy")
    numpy.save(folder / "vectors.npy", numpy.zeros((3000, 4)))
    safetensors = pytest.importorskip("safetensors.numpy")
    for name in ("model-1", "model-2"):
        safetensors.save_file({name: numpy.zeros(10)}, folder / f"{name}.safetensors")


PAGES = sorted(path.name for path in [*TOP.glob("docs/*.rst"), TOP / "README.rst"])


@pytest.mark.parametrize("name", PAGES)
def test_programs_in_the_documents_run(name: str, tmp_path: Path) -> None:
    page = TOP / name if name == "README.rst" else TOP / "docs" / name
    programs = filter(is_whole_program, code_blocks(page.read_text(encoding="utf-8")))
    prepare_files(tmp_path)
    for number, program in enumerate(programs):
        needed = imported(program) | set(re.findall(r"\b(numpy|safetensors)\b", program))
        if 'framework="pt"' in program:
            needed.add("torch")
        if any(importlib.util.find_spec(module) is None for module in needed):
            continue
        if {"numpy", "safetensors"} & needed:
            prepare_arrays(tmp_path)
        program = program.replace('"/backup', '"backup').replace("1 << 30", "1 << 19")
        file = tmp_path / f"program-{number}.py"
        file.write_text(program)
        run_example(str(file), tmp_path)
