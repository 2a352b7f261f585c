# SPDX-License-Identifier: Apache-2.0
"""Tensors of safetensors files at the disk's speed. Needs the extra `numpy` or `torch`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import struct
import sys
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from linux_aio._core import aligned_buffer
from linux_aio._numpy_memory import empty
from linux_aio.bulk import Direct, Progress, load_into

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import StrOrBytesPath

__all__ = ["SafetensorsError", "iter_file", "load_file"]

Framework: TypeAlias = Literal["numpy", "pt"]

# The format's limit.
_MOST_HEADER_BYTES = 100_000_000

_FIELDS = ("dtype", "shape", "data_offsets")

# How many seconds a thread waits before it checks whether the program is ending.
_PATIENCE = 0.2

# Bits of an element; the type's name in NumPy and in PyTorch, or None.
_TYPES: dict[str, tuple[int, str | None, str | None]] = {
    "BOOL": (8, "bool", "bool"),
    "F4": (4, None, "float4_e2m1fn_x2"),
    "F6_E2M3": (6, None, None),
    "F6_E3M2": (6, None, None),
    "U8": (8, "u1", "uint8"),
    "I8": (8, "i1", "int8"),
    "F8_E5M2": (8, None, "float8_e5m2"),
    "F8_E4M3": (8, None, "float8_e4m3fn"),
    "F8_E8M0": (8, None, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": (8, None, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (8, None, "float8_e5m2fnuz"),
    "I16": (16, "<i2", "int16"),
    "U16": (16, "<u2", "uint16"),
    "F16": (16, "<f2", "float16"),
    "BF16": (16, None, "bfloat16"),
    "I32": (32, "<i4", "int32"),
    "U32": (32, "<u4", "uint32"),
    "F32": (32, "<f4", "float32"),
    "C64": (64, "<c8", "complex64"),
    "F64": (64, "<f8", "float64"),
    "I64": (64, "<i8", "int64"),
    "U64": (64, "<u8", "uint64"),
}


class SafetensorsError(ValueError):
    """The file is no safetensors file, or a damaged one."""


def load_file(
    paths: StrOrBytesPath | Collection[StrOrBytesPath],
    *,
    framework: Framework = "numpy",
    names: Collection[str] | None = None,
    direct: Direct = "auto",
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the tensors of one or several safetensors files, as a dict by their names.

    framework="numpy" makes arrays, "pt" PyTorch tensors on the CPU. Each owns its memory. names=
    loads only these; KeyError if one is missing. `direct`, `chunk`, `depth` and `progress` are as
    for bulk.load_into.

    SafetensorsError, a ValueError, for a damaged file, and for a name that is in two files;
    TypeError for a type that the framework has not, as bfloat16 in NumPy.
    """
    make = _maker(framework)
    names = _as_names(names)
    tensors: dict[str, Any] = {}
    with _Shards(_as_paths(paths)) as shards:
        picked = [_picked(tensors_of, names) for tensors_of in shards.read_headers()]
        _check_names([part.name for parts in picked for part in parts], names)
        plans = []
        for parts in picked:
            segments = []
            for part in parts:
                tensors[part.name], buffer = make(part)
                segments.append((part.start, buffer))
            plans.append(segments)
        total = sum(part.nbytes for parts in picked for part in parts)
        before = 0
        for index, segments in enumerate(plans):
            report = None if progress is None else _offset_progress(progress, before, total)
            with shards.opened(index) as file:
                before += load_into(
                    file, segments, direct=direct, chunk=chunk, depth=depth, progress=report
                ).nbytes
    return tensors


class _Shards:
    """Files that stay open, because another file may get a name before the data is read.

    Where there are no numbers for so many, they are opened again, and must be the same files.
    """

    def __init__(self, paths: list[StrOrBytesPath]) -> None:
        self._paths = paths
        self._files: list[BinaryIO] | None = []
        self._marks: list[tuple[int, ...]] = []

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        files, self._files = self._files, None
        for file in files or ():
            file.close()

    def read_headers(self) -> Iterator[list[Tensor]]:
        for path in self._paths:
            try:
                file = open(path, "rb")  # noqa: SIM115 - kept
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._files:
                    raise
                self._marks = [_mark(file) for file in self._files]
                self._close()
                file = open(path, "rb")  # noqa: SIM115 - closed below
            if self._files is not None:
                self._files.append(file)
                tensors = _read_header(file)
            else:
                with file:
                    tensors = _read_header(file)
                    self._marks.append(_mark(file))
            yield tensors

    @contextlib.contextmanager
    def opened(self, index: int) -> Iterator[BinaryIO]:
        if self._files is not None:
            yield self._files[index]
            return
        with open(self._paths[index], "rb") as file:
            if _mark(file) != self._marks[index]:
                raise SafetensorsError(f"{file.name!r} was replaced while it was loaded")
            yield file


def _mark(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _offset_progress(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def iter_file(
    path: StrOrBytesPath,
    *,
    framework: Framework = "numpy",
    names: Collection[str] | None = None,
    direct: Direct = "auto",
    memory: int = 1 << 28,
) -> Iterator[tuple[str, Any]]:
    """Yield (name, tensor) for the tensors of a safetensors file, as they arrive from the disk.

    At most about `memory` bytes, 256 MiB by default, are read before the program takes them.
    `framework`, `names`, `direct` and the errors are as for load_file.
    """
    make = _maker(framework)
    names = _as_names(names)
    with open(path, "rb") as file:  # kept open: another file may get the name meanwhile
        parts = _picked(_read_header(file), names)
        _check_names([part.name for part in parts], names)
        yield from _arrivals(file, parts, make, direct, memory)


def _arrivals(
    file: BinaryIO,
    parts: list[Tensor],
    make: Callable[[Tensor], tuple[Any, Any]],
    direct: Direct,
    memory: int,
) -> Iterator[tuple[str, Any]]:
    """Yield the tensors that a thread loads, group by group."""
    arrived: queue.SimpleQueue[list[tuple[str, Any]] | BaseException | None] = queue.SimpleQueue()
    room = threading.Semaphore(2)  # groups: one being read, one at the program
    given_up = threading.Event()
    main_thread = threading.main_thread()
    taker = threading.current_thread()  # the thread that took the last tensor

    def check(done: int = 0, total: int = 0) -> None:
        # The interpreter's end waits for this thread, which must then not wait for the main one.
        if given_up.is_set() or (taker is main_thread and not taker.is_alive()):
            raise InterruptedError

    def read() -> None:
        try:
            for group in _groups(parts, max(memory // 2, 1)):
                while not room.acquire(timeout=_PATIENCE):
                    check()
                check()
                made = [(part, *make(part)) for part in group]
                load_into(
                    file,
                    [(part.start, buffer) for part, _, buffer in made],
                    direct=direct,
                    progress=check,
                )
                arrived.put([(part.name, tensor) for part, tensor, _ in made])
                del made
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    thread = threading.Thread(target=read, name="linux_aio safetensors")
    try:
        thread.start()
        while (item := arrived.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            item.reverse()
            while item:
                yield item.pop()
                taker = threading.current_thread()
            room.release()
    finally:
        given_up.set()
        room.release()
        with contextlib.suppress(RuntimeError):  # a signal handler raised within start()
            thread.join()


def _groups(parts: list[Tensor], most: int) -> Iterator[list[Tensor]]:
    group: list[Tensor] = []
    nbytes = 0
    for part in parts:
        if group and nbytes + part.nbytes > most:
            yield group
            group, nbytes = [], 0
        group.append(part)
        nbytes += part.nbytes
    if group:
        yield group


# --- the header


@dataclass(frozen=True, slots=True)
class Tensor:
    """The entry of one tensor in a header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int  # the offset in the file
    nbytes: int


def read_header(path: StrOrBytesPath) -> list[Tensor]:
    """Return the tensors of the file in the order of their data; SafetensorsError if it is bad."""
    with open(path, "rb") as file:
        return _read_header(file)


def _read_header(file: BinaryIO) -> list[Tensor]:
    path: Any = file.name
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise SafetensorsError(f"{path!r}: the file ends within the length of the header")
    (length,) = struct.unpack("<Q", start)
    if length > _MOST_HEADER_BYTES:
        raise SafetensorsError(f"{path!r}: a header of {length} bytes is too large")
    if 8 + length > size:
        raise SafetensorsError(f"{path!r}: the header reaches beyond the end of the file")
    header = file.read(length)
    try:
        tensors = parse_header(header, size - 8 - length)
    except SafetensorsError as error:
        raise SafetensorsError(f"{path!r}: {error}") from None
    return tensors


def parse_header(header: bytes, data_size: int) -> list[Tensor]:
    """Return the tensors. Check the format's rules: each byte of data belongs to one tensor."""
    entries = _parse_json(header)
    metadata = entries.pop("__metadata__", None)
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    ):
        raise SafetensorsError("__metadata__ is no map of strings")
    tensors = [_tensor(name, entry, 8 + len(header)) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.nbytes))
    end = 8 + len(header)
    for tensor in tensors:
        if tensor.start != end:
            kind = "a hole before" if tensor.start > end else "an overlap with"
            raise SafetensorsError(f"{kind} the data of {tensor.name!r}")
        end += tensor.nbytes
    if end != 8 + len(header) + data_size:
        raise SafetensorsError(
            f"the tensors have {end - 8 - len(header)} bytes, the file {data_size}"
        )
    return tensors


def _parse_json(header: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(
            header.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_as_dict
        )
        json.dumps(entries, ensure_ascii=False).encode()  # fails on lone surrogates
    except (ValueError, RecursionError) as error:
        raise SafetensorsError(f"the header is no JSON: {error}") from None
    if not isinstance(entries, dict):
        raise SafetensorsError("the header is no JSON object")
    return entries


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    # The format's own library takes a name that occurs twice, but no field of a tensor that does.
    # This function sees each object of the header: the metadata, whose values are all strings, and
    # a tensor that is named like a field, whose value is an object, may be there twice.
    if len(result) != len(pairs) and not all(isinstance(value, str) for value in result.values()):
        keys = [key for key, value in pairs if key in _FIELDS and not isinstance(value, dict)]
        if len(set(keys)) != len(keys):
            raise ValueError("a field is there twice")
    return result


def _tensor(name: str, entry: object, data_start: int) -> Tensor:
    if isinstance(entry, list) and len(entry) == 3:  # the format's own library allows this, too
        entry = dict(zip(_FIELDS, entry, strict=True))
    if not isinstance(entry, dict) or not set(_FIELDS) <= entry.keys():
        raise SafetensorsError(f"{name!r} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise SafetensorsError(f"{name!r} has an unknown type, {dtype!r}")
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise SafetensorsError(f"{name!r} has an impossible shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise SafetensorsError(f"{name!r} has impossible offsets")
    start, end = offsets
    bits = _bits(name, shape, _TYPES[dtype][0])
    if end < start or (end - start) * 8 != bits:
        raise SafetensorsError(
            f"{name!r} has {end - start} bytes, its shape and type need {bits / 8:g}"
        )
    return Tensor(name, dtype, tuple(shape), data_start + start, end - start)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**64


def _bits(name: str, shape: list[int], bits: int) -> int:
    product = 1
    for length in [*shape, bits]:
        product *= length
        if product >= 2**64:
            raise SafetensorsError(f"{name!r} is too large")
    return product


# --- the choice of tensors and their types


def _as_paths(
    paths: StrOrBytesPath | Collection[StrOrBytesPath],
) -> list[StrOrBytesPath]:
    return [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)


def _as_names(names: Collection[str] | None) -> Collection[str] | None:
    if isinstance(names, str):
        raise TypeError(f"names must be a collection of names, not a str: {names!r}")
    return names if names is None else dict.fromkeys(names)  # each once, in their order


def _picked(tensors: list[Tensor], names: Collection[str] | None) -> list[Tensor]:
    return tensors if names is None else [tensor for tensor in tensors if tensor.name in names]


def _check_names(found: list[str], names: Collection[str] | None) -> None:
    seen: set[str] = set()
    for name in found:
        if name in seen:
            raise SafetensorsError(f"{name!r} is in more than one file")
        seen.add(name)
    missing = [] if names is None else [name for name in names if name not in seen]
    if missing:
        raise KeyError(missing[0])


def _maker(framework: str) -> Any:
    """Return a function from a Tensor to a new array or tensor, and its memory as a buffer."""
    if framework == "numpy":
        return _make_array
    if framework == "pt":
        return _make_torch
    raise ValueError(f'framework must be "numpy" or "pt", not {framework!r}')


def _make_array(tensor: Tensor) -> tuple[Any, Any]:
    np = _import("numpy", "numpy")
    name = _TYPES[tensor.dtype][1]
    if name is None:
        raise TypeError(
            f"NumPy has no type for {tensor.dtype} ({tensor.name!r}): use framework='pt'"
        )
    array = empty(tensor.shape, name, tensor.start)
    buffer = memoryview(array.reshape(-1).view(np.uint8)) if tensor.nbytes else bytearray()
    return array, buffer


def _make_torch(tensor: Tensor) -> tuple[Any, Any]:
    torch = _import("torch", "torch")
    name = _TYPES[tensor.dtype][2]
    dtype = getattr(torch, name, None) if name is not None else None
    if dtype is None:
        raise TypeError(f"this PyTorch has no type for {tensor.dtype} ({tensor.name!r})")
    if sys.byteorder != "little":
        raise TypeError("PyTorch's tensors have the machine's byte order, which is not the file's")
    shape = tensor.shape
    if tensor.dtype == "F4":  # two elements in a byte
        shape = (*tensor.shape[:-1], tensor.shape[-1] // 2)
    if tensor.nbytes == 0:
        return torch.empty(shape, dtype=dtype), bytearray()
    # Each byte has the same place in its page as in the file, so that direct reads need no copy;
    # or the next lower one where elements are aligned.
    shift = tensor.start % 4096
    shift -= shift % max(_TYPES[tensor.dtype][0] // 8, 1)
    memory = aligned_buffer(shift + tensor.nbytes)[shift:]
    return torch.frombuffer(memory, dtype=torch.uint8).view(dtype).reshape(shape), memory


def _import(name: str, extra: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(
            f"this needs {name}: pip install 'linux-aio-python[{extra}]'", name=name
        ) from error
