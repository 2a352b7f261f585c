"""What every test run shares: import paths, markers, and an account of what was skipped."""

from __future__ import annotations

import fnmatch
import gc
import os
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
STRICT_SKIPS = os.environ.get("LINUX_AIO_STRICT_SKIPS") == "1"

# The engine that this run is for, if it is for one; and whether the tests that use no engine, or
# name theirs, are left to another run.
RUN_ENGINE = os.environ.get("LINUX_AIO_ENGINE") or None
ENGINE_ONLY = os.environ.get("LINUX_AIO_ENGINE_ONLY") == "1"

sys.path[:0] = [str(TESTS), str(TESTS / "stress"), str(TESTS.parent / "tools")]
sys.path.append(str(TESTS.parent))  # last, since it has linux_aio without its extension module
if "LINUX_AIO_BUILD" in os.environ:
    sys.path.insert(3, str(Path(os.environ["LINUX_AIO_BUILD"]).resolve() / "tests" / "cpp"))

# A child `python -c …` started at the top of the project would import the linux_aio that is there,
# which has no extension module, instead of what is being tested.
os.environ.setdefault("PYTHONSAFEPATH", "1")

from support.borrowed_loops import end_borrowed_loops  # noqa: E402
from support.portable import PORTABLE, REASON, aio_refused, portable_files  # noqa: E402

if PORTABLE:
    files = portable_files()
    found = [str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")]
    collect_ignore = [name for name in found if name not in files]


@pytest.fixture(scope="module", autouse=True)
def borrowed_loops() -> Iterator[None]:
    yield
    end_borrowed_loops()


@pytest.fixture(scope="module", autouse=True)
def frozen_heap() -> Iterator[None]:
    """Take what there is out of gc.collect()'s sight, which tests call thousands of times.

    With all that is imported, each call would take a quarter of a second.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_root: skipped unless run as root")
    config.addinivalue_line(
        "markers",
        "long: takes seconds of processor time. Only `./dev test --all` runs it",
    )
    config.addinivalue_line(
        "markers",
        "above_engines: about what stands on operations that other tests are about. `./dev test` "
        "runs it with the engine auto only, `./dev test --all` with each",
    )
    config.addinivalue_line(
        "markers",
        "without_sanitizers: takes its time in other programs or in Python's code, and uses the "
        "extension as other tests do; or forks beside threads at work, where sanitizers may hang",
    )
    if not config.pluginmanager.hasplugin("xdist"):
        config.addinivalue_line("markers", "xdist_group(name): used where pytest-xdist is there")
    config.addinivalue_line(
        "markers",
        "engine(name, ...): about these engines. It is run with the first as the default if the "
        "run is for no engine, and left out if the run is for another",
    )
    config.addinivalue_line(
        "markers",
        "engine_independent: uses no engine, names its own, or is about what stands above the "
        "engines and is slow: one run of it is enough",
    )
    if not config.pluginmanager.hasplugin("timeout"):
        config.addinivalue_line("markers", "timeout(seconds): used where pytest-timeout is there")


# All tests of these files are engine_independent.
ENGINE_INDEPENDENT = {
    "test_coverage_report.py",
    "test_durability.py",
    "test_fsspec_abstract.py",
    "test_fuzz_api.py",
    "test_sandbox.py",
    "test_sdist.py",
    "test_version.py",
    "test_zarr_abstract.py",
}

# All tests of these folders and files are above_engines.
ABOVE_ENGINES = {
    "bulk",
    "filesystems",
    "project",
    "test_against_io.py",
    "test_fs.py",
    "test_odd_files.py",
    "test_read_ahead.py",
    "test_standard_streams.py",
    "test_temporary.py",
    "test_trees.py",
    "test_whole_files.py",
}

# All tests of these folders and files are without_sanitizers.
WITHOUT_SANITIZERS = {
    "filesystems",
    "project",
    "test_cli.py",
    "test_durability.py",
    "test_sandbox.py",
}


def belongs_here(item: pytest.Item) -> bool:
    """Whether this run, if it is for one engine, is the one to run the test."""
    independent = item.get_closest_marker("engine_independent")
    if ENGINE_ONLY and (independent or item.path.name in ENGINE_INDEPENDENT):
        return False
    about = item.get_closest_marker("engine")
    return about is None or RUN_ENGINE is None or RUN_ENGINE in about.args


@pytest.fixture(autouse=True)
def engine_of_this_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the marker `engine` asks for, where the run leaves it open."""
    about = request.node.get_closest_marker("engine")
    if about is not None and RUN_ENGINE is None:
        monkeypatch.setenv("LINUX_AIO_ENGINE", about.args[0])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    elsewhere = [item for item in items if not belongs_here(item)]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if belongs_here(item)]
    for item in items:
        parts = item.path.relative_to(TESTS).parts
        if ABOVE_ENGINES.intersection(parts):
            item.add_marker("above_engines")
        if WITHOUT_SANITIZERS.intersection(parts):
            item.add_marker("without_sanitizers")
    # else processes that share the tests would wait for the one that has the last long one
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if PORTABLE and (refused := aio_refused()):
        for item in items:
            item.add_marker(pytest.mark.skip(reason=refused))
    if PORTABLE or os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("needs_root"):
                reason = REASON if PORTABLE else "needs root"
                item.add_marker(pytest.mark.skip(reason=reason))


def skips(config: pytest.Config) -> Iterator[tuple[str, str]]:
    """The reason and the file of each skip so far, of whole files too."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.stats.get("skipped", []) if reporter else []:
        longrepr = report.longrepr
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        yield reason.removeprefix("Skipped: "), report.nodeid.split("::")[0]


def skip_lines(config: pytest.Config) -> list[str]:
    files = defaultdict(list)
    for reason, file in skips(config):
        files[reason].append(file)
    return [
        f"skipped: {len(where)} × {reason} ({', '.join(sorted(set(where)))})"
        for reason, where in sorted(files.items())
    ]


def failure_lines(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = [
        r
        for kind in ("failed", "error")
        for r in (reporter.stats if reporter else {}).get(kind, [])
    ]
    return [f"failed: {nodeid}" for nodeid in dict.fromkeys(report.nodeid for report in reports)]


def refused_skips(config: pytest.Config) -> list[str]:
    """Reasons that are not on the checked-in list, where that list is to be kept."""
    if not STRICT_SKIPS:
        return []
    lines = (TESTS / "allowed-skips.txt").read_text(encoding="utf-8").splitlines()
    allowed = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    reasons = sorted({reason for reason, _ in skips(config)})
    return [r for r in reasons if not any(fnmatch.fnmatchcase(r, pattern) for pattern in allowed)]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if refused_skips(session.config) and session.exitstatus in (
        pytest.ExitCode.OK,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# Around all the others, so that nothing but pytest's closing line is printed after these. It is the
# old kind of wrapper because Debian bookworm's pytest 7.2 knows no other.
@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    yield
    lines = skip_lines(config)
    for line in lines:
        terminalreporter.write_line(line)
    if "LINUX_AIO_REPORT" in os.environ:
        report = "".join(line + "\n" for line in [*failure_lines(config), *lines])
        Path(os.environ["LINUX_AIO_REPORT"]).write_text(report, encoding="utf-8")
    for reason in refused_skips(config):
        terminalreporter.write_line(
            f"skip not allowed here: {reason} (make the test run, or add the reason to "
            "tests/allowed-skips.txt)",
            red=True,
        )
