"""``imsgate stores new``: a package with a store driver of one's own, its tests and its options."""

import argparse
import pathlib
import re
import sys
from importlib import resources
from typing import Any

#: The files of the package, by the names of their templates.
_FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "setup.cfg.in": "setup.cfg",
    "README.md.in": "README.md",
    "store.py.in": "imsgate_store_{name}.py",
    "test_store.py.in": "tests/test_store.py",
}

_NAME = re.compile("[a-z][a-z0-9_]*")


def add_parser(actions: Any) -> None:
    new = actions.add_parser(
        "new",
        help="write a package with a store driver of your own",
        description="Write the package imsgate-store-NAME: a driver that keeps images in a "
        "directory, with its options, its entry point and tests that pass. Replace the directory "
        "with your own medium.",
    )
    new.add_argument("name", type=_name, metavar="NAME", help="the name of the driver")
    new.add_argument(
        "--directory",
        type=pathlib.Path,
        metavar="DIR",
        help="directory to create (default: imsgate-store-NAME)",
    )
    new.set_defaults(run=write)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a lower-case letter, followed by lower-case letters, digits and _"
        )
    return text


def write(args: argparse.Namespace) -> int:
    """Exit status 1 if the directory exists or cannot be written."""
    directory = args.directory or pathlib.Path(f"imsgate-store-{args.name}")
    words = {"NAME": args.name, "CLASS": args.name.title().replace("_", "")}
    try:
        directory.mkdir(parents=True)
        for template, name in _FILES.items():
            text = resources.files(__package__).joinpath(template).read_text()
            path = directory / name.format(name=args.name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(re.sub("NAME|CLASS", lambda word: words[word[0]], text))
    except OSError as error:
        print(f"imsgate: {directory}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{directory} has a driver that passes its tests. Try them:")
    print(f"  cd {directory} && pip install -e '.[test]' && pytest")
    return 0
