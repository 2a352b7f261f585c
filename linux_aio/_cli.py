# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m linux_aio`, also installed as `linux-aio`."""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import io
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ._core import __version__
from ._info import Report, path_key, system_report
from .bulk import Transfer, checksum_from, copy

_STANDARD_INPUT = 0  # its descriptor
_DEFAULT_ALGORITHM = "sha256"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 after an error, 2 for wrong arguments."""
    options = _parsed(sys.argv[1:] if arguments is None else arguments)
    if options.command is None:
        _parser().print_help()
        return 2
    _end_by_signals()
    _print_any_name()
    try:
        status: int = options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        elif options.command != "copy":  # whose result is a file
            raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: the standard output")
    except BrokenPipeError:
        # the reader has closed the pipe; else Python would report it again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (OSError, ValueError, EOFError) as error:
        _complain(str(error))
        return 1
    return status


def _complain(text: str) -> None:
    _tell(f"linux-aio: {text}")


def _tell(line: str) -> None:
    """Print a line to the standard error, if that takes it: what it is about goes on."""
    if sys.stderr is not None:  # else print() would write to the standard output
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def _print_any_name() -> None:
    """Have names of files that are no text in the locale's encoding be printed as they are."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")


def _end_by_signals() -> None:
    """Have SIGTERM and SIGHUP end the program by an exception.

    So temporary files are removed, and the terminal's cursor is shown again.
    """

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, end)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="linux-aio", description="Copy, hash and measure files with many requests in flight."
    )
    parser.add_argument("--version", action="version", version=f"linux-aio {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    command = commands.add_parser("copy", help="copy a file, at the disk's speed and durably")
    command.add_argument("source", metavar="SOURCE", help="a file")
    command.add_argument("target", metavar="TARGET", help="a file or a folder")
    command.add_argument(
        "--verify",
        nargs="?",
        const=_DEFAULT_ALGORITHM,
        type=_algorithm,
        metavar="ALGORITHM",
        help="read both back and compare, by sha256 unless another is named",
    )
    command.add_argument(
        "--no-sync", action="store_true", help="don't wait until the copy is on the disk"
    )
    _add_common(command)
    command.set_defaults(run=_run_copy)

    command = commands.add_parser("checksum", help="hash files; prints lines as sha256sum does")
    command.add_argument("files", nargs="+", metavar="FILE", help="- is the standard input")
    command.add_argument(
        "-a",
        "--algorithm",
        default=_DEFAULT_ALGORITHM,
        type=_algorithm,
        help="one of hashlib's (default: sha256)",
    )
    _add_common(command)
    command.set_defaults(run=_run_checksum)

    command = commands.add_parser(
        "bench", help="what the disk below PATH gives, and what to choose, in half a minute"
    )
    command.add_argument("path", metavar="PATH", help="a folder, or a file that is only read")
    command.add_argument("--seconds", type=_time, default=0.5, help="for each way (default: 0.5)")
    command.add_argument(
        "--size", type=_size, default=256, help="of the file that is made, in MiB (default: 256)"
    )
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=_run_bench)

    command = commands.add_parser("info", help="what there is, and of PATH what its files allow")
    command.add_argument("path", nargs="?", metavar="PATH", help="a file or a folder")
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=_run_info)

    command = commands.add_parser(
        "demo",
        help="blocking calls, threads and linux_aio on this machine's disk, in ten seconds",
    )
    command.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="a file, which is only read, or a folder, in which one is made and removed "
        "(default: this folder)",
    )
    command.add_argument("--file", metavar="PATH", help="the same")
    command.add_argument(
        "--seconds", type=_time, default=3.0, help="at most, for each way (default: 3)"
    )
    command.set_defaults(run=_run_demo)
    return parser


def _positive(convert: Callable[[str], float], unit: str) -> Callable[[str], float]:
    """Return what converts an argument to a positive number."""

    def converted(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0 < (number := convert(text)) < math.inf:  # false for NaN, too
                return number
        raise argparse.ArgumentTypeError(f"must be a positive number of {unit}, not {text}")

    return converted


_time = _positive(float, "seconds")
_size = _positive(int, "MiB")


def _algorithm(text: str) -> str:
    if text not in hashlib.algorithms_available:
        raise argparse.ArgumentTypeError(f"hashlib has no algorithm {text!r}")
    return text


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments. To --verify belongs the next word only if it is an algorithm's name."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    for index, word in enumerate(words[:end]):
        following = words[index + 1 : index + 2]
        if word == "--verify" and hashlib.algorithms_available.isdisjoint(following):
            words[index] = f"--verify={_DEFAULT_ALGORITHM}"  # else argparse takes SOURCE for one
    return _parser().parse_args(words)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--direct",
        choices=("auto", "always", "never"),
        default="auto",
        help="past the page cache (O_DIRECT): where it pays, or as named (default: auto)",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="no progress, no summary")


def _direct(options: argparse.Namespace) -> Any:
    return {"auto": "auto", "always": True, "never": False}[options.direct]


def _run_copy(options: argparse.Namespace) -> int:
    with _progress(options, os.path.basename(options.source)) as progress:
        transfer = copy(
            options.source,
            options.target,
            direct=_direct(options),
            durable=not options.no_sync,
            verify=options.verify,
            progress=progress,
        )
    if not options.quiet:
        print(summary(transfer))
    return 0


def _run_checksum(options: argparse.Namespace) -> int:
    status = 0
    for file in options.files:
        try:
            with _progress(options, os.path.basename(file)) as progress:
                digest = checksum_from(
                    _position_of_standard_input() if file == "-" else 0,
                    _STANDARD_INPUT if file == "-" else file,
                    options.algorithm,
                    direct=_direct(options),
                    progress=progress,
                )
        except (OSError, EOFError) as error:
            _complain(str(error))
            status = 1
        else:
            if file == "-":
                _leave_standard_input_at_its_end()
            print(_checksum_line(digest, file))
    return status


def _position_of_standard_input() -> int:
    """Return where others have left it; 0 if it has no position, as a pipe."""
    with contextlib.suppress(OSError):
        return os.lseek(_STANDARD_INPUT, 0, os.SEEK_CUR)
    return 0


def _leave_standard_input_at_its_end() -> None:
    """Leave it where sha256sum does: what comes after finds nothing more to read."""
    with contextlib.suppress(OSError):  # a pipe has no position
        start = os.lseek(_STANDARD_INPUT, 0, os.SEEK_CUR)
        if os.lseek(_STANDARD_INPUT, 0, os.SEEK_END) < start:
            os.lseek(_STANDARD_INPUT, start, os.SEEK_SET)


def _checksum_line(digest: str, file: str) -> str:
    """A line that sha256sum -c reads: a backslash in front says that the name has escapes."""
    escaped = file.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{digest}  {file}" if escaped == file else f"\\{digest}  {escaped}"


def _run_bench(options: argparse.Namespace) -> int:
    from ._bench import measure, table

    report = measure(options.path, options.seconds, options.size << 20)
    print(json.dumps(report, indent=2) if options.json else table(report))
    return 0


def _run_info(options: argparse.Namespace) -> int:
    report = system_report(options.path)
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines_of(report)))
    engine, states = report["default engine"], report["engines"]
    if isinstance(states, dict) and engine not in states:
        _complain(str(engine))
        return 1
    about_path = report.get(path_key(options.path)) if options.path is not None else None
    if isinstance(about_path, dict) and "error" in about_path:
        _complain(f"{options.path}: {about_path['error']}")
        return 1
    return 0


def _run_demo(options: argparse.Namespace) -> int:
    from ._demo import demo

    print(demo(options.path or options.file, options.seconds))
    return 0


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


def human(nbytes: float) -> str:
    """The number with a unit: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(nbytes) < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} TiB"


def summary(transfer: Transfer) -> str:
    rate = human(transfer.nbytes / transfer.seconds) if transfer.seconds > 0 else "-"
    how = transfer.engine + (", direct" if transfer.direct else "")
    return f"{human(transfer.nbytes)} in {transfer.seconds:.2f} s ({rate}/s; {how})"


@contextlib.contextmanager
def _progress(
    options: argparse.Namespace, name: str
) -> Iterator[Callable[[int, int], object] | None]:
    """A bar with rate and time left on a terminal, if rich is there; else lines, now and then."""
    if options.quiet:
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
    except ImportError:
        yield _lines(name)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name)
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


_LINE_SECONDS = 5.0


def _lines(name: str) -> Callable[[int, int], object]:
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_SECONDS:
            last = now
            share = f" ({100 * done // total} %)" if total else ""
            _tell(f"{name}: {human(done)} of {human(total)}{share}")

    return report
