# SPDX-License-Identifier: Apache-2.0
"""Whole files by cp, the standard library, NumPy and safetensors."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

from .base import Whole
from .bulk import Checksum, Copy, Load


class ReadInto(Load):
    """readinto of an unbuffered file."""

    def run(self) -> object:
        done = 0
        with open(self.path, "rb", buffering=0) as file:
            while done < self.size:
                done += file.readinto(self.buffer[done:]) or 0
        return done


class NumpyLoad(Whole):
    modules = ("numpy",)

    def run(self) -> object:
        import numpy as np

        return np.load(self.path)


class NumpyFromFile(Whole):
    modules = ("numpy",)

    def run(self) -> object:
        import numpy as np

        with open(self.path, "rb") as file:
            np.lib.format.read_magic(file)
            _, _, dtype = np.lib.format.read_array_header_1_0(file)
            return np.fromfile(file, dtype)


class NumpyReadInto(Whole):
    """An array that is filled by readinto."""

    modules = ("numpy",)

    def run(self) -> object:
        import numpy as np

        with open(self.path, "rb", buffering=0) as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            array = np.empty(shape, dtype)
            memory = memoryview(array.view(np.uint8))  # type: ignore[arg-type]
            while count := file.readinto(memory):
                memory = memory[count:]
            return array


class SafetensorsLoadFile(Whole):
    modules = ("safetensors.numpy",)

    def run(self) -> object:
        from safetensors.numpy import load_file

        return load_file(self.path)


class SafetensorsLoad(Whole):
    """safetensors' load() of bytes."""

    modules = ("safetensors.numpy",)

    def run(self) -> object:
        from safetensors.numpy import load

        with open(self.path, "rb") as file:
            return load(file.read())


class Cp(Copy):
    """cp, then fsync."""

    def run(self) -> object:
        subprocess.run(["cp", "--reflink=never", self.path, self.target], check=True)
        self.sync()
        return None

    def sync(self) -> None:
        fd = os.open(self.target, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)


class CopyFile(Cp):
    """shutil.copyfile, then fsync."""

    def run(self) -> object:
        shutil.copyfile(self.path, self.target)
        self.sync()
        return None


class FileDigest(Checksum):
    def run(self) -> object:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class HashOnly(Checksum):
    """Hashes memory, to show how long hashing takes without reading."""

    def run(self) -> object:
        digest = hashlib.sha256()
        block = bytes(1 << 20)
        for _ in range(os.path.getsize(self.path) >> 20):
            digest.update(block)
        return digest

    def check(self, result: object) -> None:
        pass
