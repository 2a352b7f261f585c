# SPDX-License-Identifier: Apache-2.0
"""linux_aio.safetensors beside the format's own library: the same tensors, the same refusals."""

from __future__ import annotations

import json
import math
import random
import resource
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")
safetensors = pytest.importorskip("safetensors")
oracle = pytest.importorskip("safetensors.numpy")

from linux_aio.safetensors import (  # noqa: E402
    _TYPES,
    SafetensorsError,
    iter_file,
    load_file,
    read_header,
)
from support.forked import in_child  # noqa: E402
from support.programs import run_program  # noqa: E402

pytestmark = pytest.mark.engine_independent


def tensors(seed: int, count: int) -> dict[str, Any]:
    dice = random.Random(seed)
    numbers = np.random.default_rng(seed)
    made = {
        f"{seed}.{i}": numbers.integers(
            0, 100, (dice.randrange(1, 300), dice.randrange(1, 300))
        ).astype(dice.choice(["f4", "i8", "u1", "f2", "?", "f8", "c8"]))
        for i in range(count)
    }
    return {**made, f"{seed}.empty": np.zeros((0, 3), "f4"), f"{seed}.scalar": np.array(3.0)}


def check(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].flags.owndata
        np.testing.assert_array_equal(found[name], tensor, strict=True)


def test_same_tensors(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    a, b = tensors(1, 40), tensors(2, 3)
    oracle.save_file(a, first, metadata={"key": "value"})
    oracle.save_file(b, second)
    check(load_file(first), a)
    check(load_file([first, second]), {**a, **b})
    check(
        load_file([second, first], names=["1.3", "2.0"]), {k: {**a, **b}[k] for k in ("1.3", "2.0")}
    )
    for memory in (1, 100_000, 1 << 30):
        check(dict(iter_file(first, memory=memory)), a)
    calls: list[tuple[int, int]] = []
    load_file([first, second], progress=lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] == sum(t.nbytes for t in [*a.values(), *b.values()])


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    oracle.save_file(tensors(1, 2), path)
    with pytest.raises(KeyError, match="nothing"):
        load_file(path, names=["nothing"])
    with pytest.raises(SafetensorsError, match="more than one"):
        load_file([path, path])
    two = [*oracle.load_file(path)][:2]
    assert [*load_file(path, names=iter(two))] == two  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="names"):
        load_file(path, names=two[0])
    with pytest.raises(ValueError, match="framework"):
        load_file(path, framework="jax")  # type: ignore[arg-type]
    for name, _ in iter_file(path, memory=1):
        assert name
        break  # the thread ends


HEADER = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "I64", "shape": [4], "data_offsets": [24, 56]},
}
BODY = bytes(range(56))


def build(header: Any, body: bytes = BODY) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def with_entry(dtype: str, shape: Any, offsets: Any, **more: Any) -> bytes:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}
    return build({**HEADER, "c": entry}, BODY + b"xyz"[: max(offsets[1] - 56, 0)])


TEXT = json.dumps(HEADER).encode()
HOSTILE = [
    b"",
    bytes(7),
    struct.pack("<Q", 2**64 - 1) + b"{}",
    struct.pack("<Q", 100_000_001) + b"{}",
    build(b" " + TEXT),
    build(TEXT + b"  \n"),
    build({**HEADER, "__metadata__": {"x": 1}}),
    build({**HEADER, "__metadata__": None}),
    build({**HEADER, "__metadata__": []}),
    build({}),
    build({}, b""),
    build(TEXT[:-1] + b',"a":' + json.dumps(HEADER["a"]).encode() + b"}"),
    build(TEXT[:-1] + b',"__metadata__":{"x":"\\ud800"}}'),
    build(TEXT[:-1] + b',"__metadata__":{"x":"a","x":"b"}}'),
    build(TEXT.replace(b"[2, 3]", b"[2, 3e0]")),
    build(TEXT.replace(b"[2, 3]", b"[02, 3]")),
    build(TEXT.replace(b'"F32"', b'"F32","dtype":"F32"')),
    build(b'{"a":["F32",[2,3],[0,24]],"b":["I64",[4],[24,56]]}'),
    build(b"[" * 100_000),
    build(b'{"a":' * 100_000),
    build(b'{"a":NaN}'),
    build(b"[]"),
    build(b'{"\xff":1}'),
    build(HEADER, BODY + b"x"),
    build(HEADER, BODY[:-1]),
    with_entry("F32", [0], [0, 0]),
    with_entry("F32", [0], [56, 56]),
    with_entry("F32", [0], [8, 8]),
    with_entry("F32", [2**63, 2, 0], [56, 56]),
    with_entry("F32", [0, 2**63, 2], [56, 56]),
    with_entry("F32", [0], [56, 56], extra=1),
    with_entry("F32", [0.0], [56, 56]),
    with_entry("U8", [True], [56, 57]),
    with_entry("U8", [-1], [56, 57]),
    with_entry("U8", [1], [57, 56]),
    with_entry("F4", [3], [56, 57]),
    with_entry("F4", [2], [56, 57]),
    with_entry("F6_E2M3", [4], [56, 59]),
    with_entry("Q8", [1], [56, 57]),
]


def agrees(blob: bytes, path: Path) -> None:
    """Both take the file, or both refuse it."""
    path.write_bytes(blob)
    try:
        safetensors.deserialize(blob)
        takes = True
    except safetensors.SafetensorError:
        takes = False
    try:
        read_header(path)
        we_take = True
    except SafetensorsError:
        we_take = False
    assert we_take == takes, blob[:300]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_headers(number: int, tmp_path: Path) -> None:
    agrees(HOSTILE[number], tmp_path / "file")


def test_mutated_headers(tmp_path: Path) -> None:
    dice = random.Random(0)
    whole = build(HEADER)
    for _ in range(1500):
        blob = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(blob))
            kind = dice.randrange(4)
            if kind == 0:
                blob[place] = dice.randrange(256)
            elif kind == 1:
                del blob[place : place + dice.randrange(1, 5)]
            elif kind == 2:
                blob[place:place] = bytes([dice.randrange(32, 127)])
            else:
                blob[min(8 + dice.randrange(len(TEXT)), len(blob) - 1)] = dice.choice(
                    b'{}[]",:0123456789-.eE '
                )
        if dice.random() < 0.5 and len(blob) > 8:
            blob[:8] = struct.pack("<Q", max(len(TEXT) + len(blob) - len(whole), 0))
        agrees(bytes(blob), tmp_path / "file")


@pytest.mark.parametrize("odd", range(8))
def test_elements_are_aligned_wherever_they_lie_in_the_file(odd: int, tmp_path: Path) -> None:
    """The format does not ask for it: its own library takes such files."""
    path = tmp_path / "a.safetensors"
    wanted = {
        name: np.random.default_rng(1).integers(0, 2, 70_000).astype(name)
        for name in ("uint8", "float64", "int16", "complex64")
    }
    blob = oracle.save(wanted)
    (length,) = struct.unpack("<Q", blob[:8])
    header = blob[8 : 8 + length] + b" " * odd
    path.write_bytes(struct.pack("<Q", len(header)) + header + blob[8 + length :])
    for name, tensor in oracle.load_file(path).items():
        np.testing.assert_array_equal(tensor, wanted[name], strict=True)
    for found in (load_file(path), dict(iter_file(path))):
        check(found, wanted)
        assert all(tensor.flags.aligned for tensor in found.values())


def test_types_that_numpy_has_not(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    path.write_bytes(build({"x": entry}, b"1234"))
    with pytest.raises(TypeError, match=r"BF16.*framework"):
        load_file(path)


SIZES = st.one_of(st.integers(0, 70), st.integers(2**63 - 2, 2**64 + 1), st.integers(-2, -1))
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*_TYPES, "F31", ""]),
        "shape": st.lists(SIZES, max_size=4),
        "data_offsets": st.lists(SIZES, min_size=1, max_size=3),
    },
    optional={"extra": st.none()},
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    header=st.one_of(
        st.dictionaries(st.text(max_size=4), st.one_of(ENTRIES, ANYTHING), max_size=4),
        ANYTHING,
    ),
    size=st.integers(0, 140),
    indent=st.sampled_from([None, 1]),
)
@settings(max_examples=400, deadline=None)
def test_headers_of_all_kinds(header: Any, size: int, indent: int | None) -> None:
    with TemporaryDirectory() as folder:
        text = json.dumps(header, indent=indent).encode()
        agrees(build(text, bytes(size)), Path(folder, "file"))


@given(
    kinds=st.lists(
        st.tuples(st.sampled_from(sorted(_TYPES)), st.lists(st.integers(0, 5), max_size=3)),
        max_size=5,
    ),
    order=st.randoms(use_true_random=False),
    damage=st.sampled_from([0, 0, 0, 1, -1]),
)
@settings(max_examples=400, deadline=None)
def test_headers_that_are_nearly_right(
    kinds: list[tuple[str, list[int]]], order: random.Random, damage: int
) -> None:
    """Tensors one behind the other, named in any order, of which one may be moved."""
    entries = []
    end = 0
    for number, (dtype, shape) in enumerate(kinds):
        nbytes = math.prod(shape) * _TYPES[dtype][0] // 8
        offsets = [end, end + nbytes]
        end += nbytes
        entries.append((f"{number}", {"dtype": dtype, "shape": shape, "data_offsets": offsets}))
    if damage and entries:
        place = order.choice(entries)[1]["data_offsets"]
        assert isinstance(place, list)
        place[order.randrange(2)] += damage
    order.shuffle(entries)
    with TemporaryDirectory() as folder:
        agrees(build(dict(entries), bytes(end)), Path(folder, "file"))


def test_a_program_ends_though_nobody_takes_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    oracle.save_file({f"t{i}": np.zeros(1 << 20, "u1") for i in range(20)}, path)
    run_program(
        """
        import sys
        from linux_aio.safetensors import iter_file

        kept = iter_file(sys.argv[1], memory=2 << 20)
        next(kept)
        """,
        path,
    )


def save_numbers(path: Path, first: int, metadata: dict[str, str] | None = None) -> None:
    arrays = {f"t{i}": np.full(100_000, first + i, np.float32) for i in range(6)}
    oracle.save_file(arrays, path, metadata=metadata)


def replace(path: Path) -> None:
    new = path.with_name("new")
    save_numbers(new, 1000, {"step": "x" * 1003})
    new.replace(path)


@pytest.mark.parametrize("how", ["iter_file", "load_file"])
def test_a_checkpoint_that_is_replaced_meanwhile(how: str, tmp_path: Path) -> None:
    """All tensors are those of the file that was opened."""
    first, second = tmp_path / "a", tmp_path / "b"
    save_numbers(second, 0)
    found: dict[str, float] = {}
    if how == "iter_file":
        for name, tensor in iter_file(second, memory=800_000):
            if not found:
                replace(second)
            found[name] = float(tensor[0])
    else:
        oracle.save_file({"zeros": np.zeros(4_000_000, np.float32)}, first)
        done: list[int] = []

        def progress(count: int, _: int) -> None:
            if not done:
                done.append(count)
                replace(second)

        tensors = load_file([first, second], progress=progress)
        found = {name: float(tensor[0]) for name, tensor in tensors.items() if name != "zeros"}
    assert found == {f"t{i}": float(i) for i in range(6)}


def test_a_relative_path_when_the_program_goes_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_numbers(tmp_path / "a", 0)
    monkeypatch.chdir(tmp_path)
    tensors = iter_file("a", memory=800_000)
    names = [next(tensors)[0]]
    monkeypatch.chdir("/")
    assert len(names + [name for name, _ in tensors]) == 6


@pytest.mark.parametrize("is_replaced", [False, True])
def test_more_files_than_there_are_numbers(is_replaced: bool, tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(100)]
    for number, path in enumerate(paths):
        oracle.save_file({f"t{number}": np.full(1000, number, np.float32)}, path)

    def use() -> dict[str, float] | str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        done: list[int] = []

        def progress(count: int, _: int) -> None:
            if is_replaced and not done:
                done.append(count)
                oracle.save_file({"t99": np.zeros(1000, np.float32)}, tmp_path / "new")
                (tmp_path / "new").replace(paths[99])

        try:
            loaded = load_file(paths, progress=progress)
        except SafetensorsError as error:
            return str(error)
        return {name: float(tensor[-1]) for name, tensor in loaded.items()}

    found = in_child(use)
    if is_replaced:
        assert "was replaced" in str(found)
    else:
        assert found == {f"t{number}": float(number) for number in range(100)}
