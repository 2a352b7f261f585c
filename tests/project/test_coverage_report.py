# SPDX-License-Identifier: Apache-2.0
"""Which lines `./dev coverage` takes for explained."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from coverage_report.__main__ import main, ranges
from coverage_report.measured import from_coverage, from_gcovr
from coverage_report.reasons import idle, reasons_in, unexplained

SOURCE = textwrap.dedent(
    """\
    int function() {
        if (a) {  // not covered: needs a kernel older than 5.1
            one();

            two();
        }
        three();
        if (b) {
            four();
            // not covered: only on 32-bit machines
            five();
            six();
        }
        seven();  // not covered: no memory
        eight();
    }
    """
)


def test_a_comment_behind_code_is_about_it_and_its_block() -> None:
    first = reasons_in(SOURCE)[0]
    assert (first.line, first.text) == (2, "needs a kernel older than 5.1")
    assert first.lines == {2, 3, 4, 5}


def test_a_comment_of_its_own_is_about_the_rest_of_the_block() -> None:
    second = reasons_in(SOURCE)[1]
    assert second.lines == {10, 11, 12}


def test_a_comment_behind_a_statement_is_about_that_only() -> None:
    assert reasons_in(SOURCE)[2].lines == {14}


def test_python_comments_count_too_and_empty_reasons_do_not() -> None:
    (reason,) = reasons_in("x = 1  # not covered: because\ny = 2  # not covered:\n")
    assert reason.text == "because"


def test_what_is_unexplained() -> None:
    assert unexplained({3, 7, 12, 15}, reasons_in(SOURCE)) == [7, 15]


def test_a_reason_for_what_is_run_is_idle() -> None:
    reasons = reasons_in(SOURCE)
    assert idle({2, 3, 5, 14}, {11}, reasons) == [reasons[0], reasons[2]]


def test_ranges() -> None:
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"


def test_lines_of_templates_count_as_run_if_any_instance_was(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    lines = [
        {"line_number": 1, "count": 0, "branches": []},
        {"line_number": 1, "count": 2, "branches": [{"count": 1}, {"count": 0}]},
        {"line_number": 2, "count": 0, "branches": []},
    ]
    report.write_text(json.dumps({"files": [{"file": "src/a.hpp", "lines": lines}]}))
    (file,) = from_gcovr(report)
    assert (file.executed, file.missed) == ({1}, {2})
    assert (file.branches, file.branches_taken) == (2, 1)


def test_copies_are_taken_for_their_originals(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    entry = {
        "executed_lines": [1],
        "missing_lines": [2],
        "summary": {"num_branches": 4, "covered_branches": 3},
    }
    report.write_text(json.dumps({"files": {"build/coverage/linux_aio/_flags.py": entry}}))
    (file,) = from_coverage(report, "linux_aio")
    assert file.path == "linux_aio/_flags.py"


@pytest.mark.parametrize(("missed", "status"), [([], 0), ([1], 1)])
def test_the_exit_status(
    missed: list[int],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cpp, python = tmp_path / "cpp.json", tmp_path / "python.json"
    lines = [{"line_number": line, "count": 0, "branches": []} for line in missed]
    entry = {"file": "src/libaio/calls.cpp", "lines": lines}
    cpp.write_text(json.dumps({"files": [entry]}))
    python.write_text(json.dumps({"files": {}}))
    monkeypatch.setattr("sys.argv", ["coverage_report", str(cpp), str(python)])
    assert main() == status
    assert ("src/libaio/calls.cpp:1" in capsys.readouterr().out) == bool(missed)
