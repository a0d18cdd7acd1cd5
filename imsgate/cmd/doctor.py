"""``imsgate doctor``: find out what is wrong with an installation, and repair what is safe."""

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from imsgate import errors
from imsgate.cmd import arguments, doctor_way_in
from imsgate.errors import BadConfig

if TYPE_CHECKING:
    from imsgate.doctor.diagnosis import Diagnosis


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="find out what is wrong with this installation",
        description="Check the configuration and everything that it names, beside a running "
        "service or without one. Nothing is changed without --fix, except that an object is "
        "written to each store and deleted again. Run it as the user of the service.",
        epilog="Exit status: 0 if nothing is wrong, 1 if there are only warnings, 2 if there is "
        "an error. What --fix has repaired does not count.",
    )
    parser.add_argument("paste", nargs="?", metavar="PASTE_INI", help="as for 'imsgate serve'")
    arguments.add_config(parser)
    parser.add_argument("--list", action="store_true", help="list the checks, and run none")
    parser.add_argument(
        "--check",
        action="append",
        metavar="NAME",
        help="run only this check; may be repeated (default: all)",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="repair what can be repaired without a risk: close files with secrets to other users, "
        "and remove data of unfinished uploads that nobody continues",
    )
    parser.add_argument(
        "--verify",
        type=_sample,
        metavar="N",
        help="also read N copies of image data, chosen at random, or 'all', and compare them with "
        "the records",
    )
    parser.add_argument(
        "--rate",
        type=arguments.positive,
        metavar="MIB/S",
        help="read at most this amount per second (default: no limit)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list of all findings")
    doctor_way_in.add_arguments(parser)
    parser.set_defaults(run=run)


#: The number of copies to read that stands for all of them.
_ALL = "all"


def _sample(text: str) -> int | str:
    """Argument type: a whole number above 0, or _ALL."""
    return text if text == _ALL else arguments.positive(text)


def run(args: argparse.Namespace) -> int:
    """Raises BadConfig for an unknown check, and for root in place of the service's user."""
    from imsgate.doctor import checks  # noqa: PLC0415 - it needs what the server needs

    texts = {name: text for name, (_, text) in checks.CHECKS.items()}
    texts[doctor_way_in.NAME] = doctor_way_in.TEXT
    if args.list:
        for name, text in texts.items():
            print(f"{name:<15} {text}")
        return 0
    names = args.check or list(checks.CHECKS)
    if args.verify and "digests" not in names:
        names = [*names, "digests"]
    if args.public_url and doctor_way_in.NAME not in names:
        names = [*names, doctor_way_in.NAME]
    for name in names:
        if name not in texts:
            raise BadConfig("--check", f"{name!r} is not one of {', '.join(texts)}")
    quiet = logging.NullHandler()  # without any handler, Python would print what is logged
    logging.getLogger().addHandler(quiet)
    try:
        results = _Results(as_json=args.json)
        for finding in _findings(args, names):
            results.add(finding, _fix(finding) if args.fix and finding.fix else None)
    finally:
        logging.getLogger().removeHandler(quiet)
    return results.end()


def _findings(args: argparse.Namespace, names: list[str]) -> "Iterator[Diagnosis]":
    here = [name for name in names if name != doctor_way_in.NAME]
    if here:
        yield from _of_installation(args, here)
    if doctor_way_in.NAME in names:
        yield from doctor_way_in.findings(args)


def _of_installation(args: argparse.Namespace, names: list[str]) -> "Iterator[Diagnosis]":
    from imsgate.doctor import checks, diagnosis  # noqa: PLC0415
    from imsgate.doctor.installation import Installation, Sample  # noqa: PLC0415

    try:
        conf = arguments.load(args)
    except BadConfig as problem:
        yield diagnosis.Diagnosis(
            check="configuration",
            severity=diagnosis.Severity.ERROR,
            message=f"The configuration cannot be read: {problem}.",
            advice=f"Correct {problem.key}. Nothing else is checked before.",
        )
        return
    _refuse_root(conf.state_path)
    sample = None
    if args.verify:
        sample = Sample(None if args.verify == _ALL else args.verify, args.rate)
    installation = Installation(conf, arguments.global_conf(args), args.paste, sample)
    try:
        yield from checks.run(names, installation)
    finally:
        installation.close()


def _refuse_root(state_path: str) -> None:
    """Raises BadConfig for root if the service has another user: what root may read and write
    says nothing of that user, and files that root creates are closed to it."""
    try:
        owner = os.stat(state_path).st_uid
    except OSError:
        return
    if os.geteuid() == 0 and owner != 0:
        raise BadConfig(
            "[DEFAULT] state_path",
            f"{state_path} belongs to another user ({owner}): run this command as that user, for "
            f"example with 'sudo -u'",
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Fix:
    """What was done; or, if it ``failed``, why it could not be."""

    text: str
    failed: bool = False


def _fix(finding: "Diagnosis") -> _Fix | None:
    if finding.fix is None:
        return None
    try:
        return _Fix(finding.fix())
    except (errors.Error, OSError) as error:
        return _Fix(f"It could not be repaired: {error}.", failed=True)


class _Results:
    """Prints findings, and counts those that are wrong."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._entries: list[dict[str, Any]] = []

    def add(self, finding: "Diagnosis", fix: _Fix | None) -> None:
        entry = {
            "check": finding.check,
            "severity": str(finding.severity),
            "message": finding.message,
            "advice": finding.advice,
            "fixable": finding.fix is not None,
            "fixed": fix.text if fix and not fix.failed else None,
        }
        self._entries.append(entry)
        if self._as_json:
            return
        print(f"{finding.severity.upper():<8} {finding.check}: {finding.message}")
        if fix:
            print(f"{'':<8} {fix.text}")
        elif finding.advice:
            print(f"{'':<8} {finding.advice}")
        sys.stdout.flush()

    def end(self) -> int:
        """Print the end. Returns the exit status."""
        if self._as_json:
            print(json.dumps(self._entries, indent=2))
        wrong = [entry["severity"] for entry in self._entries if entry["fixed"] is None]
        errors_found, warnings = wrong.count("error"), wrong.count("warning")
        if not self._as_json:
            from imsgate.doctor.diagnosis import counted  # noqa: PLC0415

            print(f"{counted(errors_found, 'error')}, {counted(warnings, 'warning')}")
        return 2 if errors_found else int(bool(warnings))
