# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documents: `./dev docs`.

The reference is made from the stub of the extension and the docstrings of the package:
sphinx-autoapi reads them as text, so that nothing has to be compiled.
"""

import re
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent

project = "linux_aio"
author = "the linux_aio developers"
copyright = "the linux_aio developers"  # noqa: A001
version = release = re.search(r"version: '([^']+)'", (TOP / "meson.build").read_text())[1]  # type: ignore[index]

extensions = ["autoapi.extension"]
exclude_patterns = ["_build"]
nitpicky = False
default_role = "code"  # what is in single quotes in a docstring
smartquotes = False  # b"" is to stay what it is

html_theme = "furo"
html_title = f"linux_aio {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["linux_aio.css"]

autoapi_dirs = [str(TOP / "linux_aio")]
autoapi_file_patterns = ["*.pyi", "*.py"]
autoapi_ignore = ["*/__main__.py"]
autoapi_generate_api_docs = False
autoapi_keep_files = False
autoapi_add_toctree_entry = False
autoapi_python_class_content = "class"
autoapi_member_order = "bysource"
autoapi_own_page_level = "module"


# Where names come from is left out of what is shown: a reader types linux_aio.AIOContext.
_MODULES = re.compile(r"\blinux_aio\.(_\w+|files)\.|\b(_typeshed|collections\.abc)\.")


def _shown(text: str) -> str:
    return _MODULES.sub(lambda found: "linux_aio." if found[1] else "", text)


def _shorten_signatures(app: Any, doctree: Any) -> None:
    from docutils import nodes
    from sphinx import addnodes

    for signature in doctree.findall(addnodes.desc_signature):
        for text in list(signature.findall(nodes.Text)):
            text.parent.replace(text, nodes.Text(_shown(str(text))))


# The README names documents by their files, as it is read in many places. Here these are links.
_DOCUMENT = re.compile(r"``docs/([\w-]+)\.rst``")


def _link_documents(app: Any, docname: str, source: list[str]) -> None:
    if docname == "readme":
        text = (TOP / "README.rst").read_text(encoding="utf-8")
        source[0] = _DOCUMENT.sub(r":doc:`\1`", text)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", _shorten_signatures)
    app.connect("source-read", _link_documents)
