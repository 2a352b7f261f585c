# SPDX-License-Identifier: Apache-2.0
"""linux_aio.safetensors into PyTorch on the CPU, beside the format's own library."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
oracle = pytest.importorskip("safetensors.torch")

from linux_aio.safetensors import iter_file, load_file  # noqa: E402

pytestmark = pytest.mark.engine_independent

TYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "float8_e5m2",
    "float8_e4m3fn",
]


def is_known_to_oracle(dtype: Any) -> bool:
    try:
        oracle.save({"one": torch.zeros(1, dtype=dtype)})
    except KeyError:  # 0.4 does not know uint16
        return False
    return True


def tensors() -> dict[str, Any]:
    torch.manual_seed(1)
    made = {}
    for name in TYPES:
        dtype = getattr(torch, name, None)
        if dtype is None or not is_known_to_oracle(dtype):
            continue
        for shape in ((), (0, 3), (7,), (300, 401), (3, 5, 70, 11)):
            noise = torch.randint(0, 2, shape)
            made[f"{name} {shape}"] = noise.to(dtype)
    return made


def as_bytes(tensor: Any) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def check(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert as_bytes(found[name]) == as_bytes(tensor)


def test_same_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wanted = tensors()
    oracle.save_file(wanted, path)
    check(load_file(path, framework="pt"), wanted)
    check(load_file(path, framework="pt", direct=False, chunk=4096), wanted)
    check(dict(iter_file(path, framework="pt", memory=100_000)), wanted)
    names = list(wanted)[3:5]
    check(load_file(path, framework="pt", names=names), {name: wanted[name] for name in names})


@pytest.mark.parametrize("odd", range(8))
def test_elements_are_aligned_wherever_they_lie_in_the_file(odd: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wanted = tensors()
    blob = oracle.save(wanted)
    (length,) = struct.unpack("<Q", blob[:8])
    header = blob[8 : 8 + length] + b" " * odd
    path.write_bytes(struct.pack("<Q", len(header)) + header + blob[8 + length :])
    found = load_file(path, framework="pt")
    check(found, wanted)
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in found.values())


def test_tensors_own_their_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wanted = {"a": torch.arange(100_000), "b": torch.arange(50_000)}
    oracle.save_file(wanted, path)
    found = load_file(path, framework="pt")
    path.write_bytes(b"something else" * 100_000)
    found["a"] += 1
    assert torch.equal(found["a"], wanted["a"] + 1)
    assert torch.equal(found.pop("b"), wanted["b"])
    part = found.pop("a")[10:]
    assert torch.equal(part, wanted["a"][10:] + 1)
