# SPDX-License-Identifier: Apache-2.0
"""What `import linux_aio` does where the extension module is missing, as in a source tree.

If Python is started at the top of the source tree, it finds the package there first, not the one
that `pip install .` has installed. This module then imports the installed package instead.
"""

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def import_installed(name: str) -> None:
    """Put the installed package into sys.modules; ImportError if none has an extension module."""
    spec = next(_installed(name), None)
    if spec is None or spec.loader is None:
        raise ImportError(_advice(), name=name, path=str(_HERE))
    module = importlib.util.module_from_spec(spec)
    del sys.modules[__name__]  # the source tree's package
    sys.modules[name] = module  # `import` returns what is here
    spec.loader.exec_module(module)


def _installed(name: str) -> Iterator[ModuleSpec]:
    for folder in sys.path:
        if Path(folder or ".").resolve() == _HERE.parent:
            continue
        spec = PathFinder.find_spec(name, [folder])
        places = spec.submodule_search_locations if spec is not None else None
        if spec is not None and places and PathFinder.find_spec(f"{name}._core", places):
            yield spec


def _advice() -> str:
    if (_HERE.parent / "meson.build").exists():
        return (
            f"{_HERE} is the source of linux_aio, and has no extension module, and no linux_aio is "
            f"installed for {sys.executable}. Is it installed for another Python? Else install it "
            f"in a virtual environment: python3 -m venv ~/venv && ~/venv/bin/pip install "
            f"{_HERE.parent}. Or build it with ./dev build and set "
            f"PYTHONPATH={_HERE.parent}/build/builtin"
        )
    version = ".".join(map(str, sys.version_info[:2]))
    return (
        f"{_HERE} has no extension module for Python {version} ({sys.executable}): it was "
        "installed for another Python, or in part. Install linux-aio-python with this one"
    )
