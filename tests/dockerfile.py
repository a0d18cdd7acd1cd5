"""The instructions of the Dockerfile, by stage."""

import re
import shlex
from collections.abc import Iterator

from tests.functional.gateway import ROOT


class Stage:
    """One stage: its base image, and its instructions by name, of which each is there once."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._instructions: dict[str, list[str]] = {}

    def add(self, name: str, text: str) -> None:
        self._instructions.setdefault(name, []).append(text)

    def __getitem__(self, name: str) -> str:
        (text,) = self._instructions[name]
        return text

    @property
    def env(self) -> Iterator[tuple[str, str]]:
        for word in shlex.split(self["ENV"]):
            name, _, value = word.partition("=")
            yield name, value


def stages() -> list[Stage]:
    """All stages, in order."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    made: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            made.append(Stage(rest.split()[0]))
        elif name:
            made[-1].add(name, rest)
    return made
