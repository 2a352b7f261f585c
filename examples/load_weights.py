# SPDX-License-Identifier: Apache-2.0
"""Loads the weights of a model at the disk's speed: into PyTorch on the CPU, or NumPy without it.

    python examples/load_weights.py FILE.safetensors...

Without arguments it loads a small model of its own making.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

# Each layer of the small model has 128 KiB.
LAYERS = 40
WIDTH = 256


def make_model(path: Path) -> None:
    header = {}
    size = 2 * WIDTH * WIDTH
    for number in range(LAYERS):
        header[f"layers.{number}.weight"] = {
            "dtype": "F16",
            "shape": [WIDTH, WIDTH],
            "data_offsets": [number * size, (number + 1) * size],
        }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(LAYERS * size))


def load_into_module(weights: dict[str, Any]) -> None:
    """Give a PyTorch module the tensors, without another copy of them.

    From PyTorch 2.1 on, model.load_state_dict(weights, assign=True) does the same.
    """
    nn = importlib.import_module("torch.nn")
    # parameters on the device "meta" have no memory
    layers = [nn.Linear(WIDTH, WIDTH, False, device="meta") for _ in range(LAYERS)]
    model = nn.ModuleDict({"layers": nn.ModuleList(layers)})
    for name, tensor in weights.items():
        owner, _, parameter = name.rpartition(".")
        setattr(model.get_submodule(owner), parameter, nn.Parameter(tensor, requires_grad=False))
    print(f"a module with {sum(tensor.numel() for tensor in weights.values()):,} parameters")


def load(files: list[Path], framework: Literal["numpy", "pt"]) -> dict[str, Any]:
    from linux_aio.safetensors import load_file

    importlib.import_module("torch" if framework == "pt" else "numpy")  # before the clock runs
    began = time.perf_counter()
    weights = load_file(files, framework=framework)
    seconds = time.perf_counter() - began
    nbytes = sum(file.stat().st_size for file in files)
    rate = nbytes / seconds / 1e6
    print(
        f"{len(weights)} tensors, {nbytes} bytes in {seconds:.3f} s: {rate:.0f} MB/s, {framework}"
    )
    return weights


def main() -> int:
    framework: Literal["numpy", "pt"]
    if importlib.util.find_spec("torch"):
        framework = "pt"
    elif importlib.util.find_spec("numpy"):
        framework = "numpy"
    else:
        print("neither PyTorch nor NumPy is installed: nothing to load into")
        return 0
    if len(sys.argv) > 1:
        load([Path(file) for file in sys.argv[1:]], framework)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        make_model(path)
        weights = load([path], framework)
        if framework == "pt":
            load_into_module(weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
