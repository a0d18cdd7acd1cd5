"""Runs doubles that break a kit's promises, in a pytest of their own."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree


def run(
    file: str, cases: Iterable[tuple[str, str]], report: Path
) -> dict[tuple[str, str], set[str]]:
    """The outcomes of the cases of each (double, check), and of all checks of the sound double.

    ``report`` is where pytest's report may be written.
    """
    # The sound double first: a file that a broken one leaves open fails the test that runs when
    # the garbage collector closes it.
    selected = [f"{file}::TestSound", *(f"{file}::Test{name}::{check}" for name, check in cases)]
    # Plain asserts: if CI is set, pytest would compare megabytes line by line.
    command = [sys.executable, "-m", "pytest", "-q", "--assert=plain", "--tb=line"]
    command += ["-p", "no:cacheprovider", "--junitxml", str(report)]
    done = subprocess.run([*command, *selected], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes: dict[tuple[str, str], set[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.attrib["classname"].rpartition(".Test")[2]
        check = case.attrib["name"].partition("[")[0]
        outcome = {"failure", "error", "skipped"} & {child.tag for child in case}
        outcomes.setdefault((name, check), set()).update(outcome or {"passed"})
    return outcomes
