# SPDX-License-Identifier: Apache-2.0
"""`python -m linux_aio info [PATH]`: what there is of asynchronous I/O here, for a bug report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from ._info import Report, system_report


def lines_of(report: Report, indent: str = "") -> list[str]:
    """The report as text, a line for each entry."""
    width = max(map(len, report), default=0)
    lines = []
    for name, value in report.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *lines_of(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name + ':':{width + 1}} {value}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m linux_aio", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="what there is, and of PATH what its files allow")
    info.add_argument("path", nargs="?", metavar="PATH", help="a file or a directory")
    info.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    report = system_report(options.path)
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines_of(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
