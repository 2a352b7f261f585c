# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documents: `./dev docs`.

The reference is made from the stub of the extension and the docstrings of the package:
sphinx-autoapi reads them as text, so that nothing has to be compiled.
"""

import re
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

project = "linux_aio"
author = "the linux_aio developers"
copyright = "the linux_aio developers"  # noqa: A001
version = release = re.search(r"version: '([^']+)'", (TOP / "meson.build").read_text())[1]  # type: ignore[index]

extensions = ["autoapi.extension"]
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "furo"
html_title = f"linux_aio {release}"
html_copy_source = False
html_show_sphinx = False

autoapi_dirs = [str(TOP / "linux_aio")]
autoapi_file_patterns = ["*.pyi", "*.py"]
autoapi_ignore = ["*/__main__.py"]
autoapi_generate_api_docs = False
autoapi_keep_files = False
autoapi_add_toctree_entry = False
autoapi_python_class_content = "both"
autoapi_member_order = "bysource"
autoapi_own_page_level = "module"
