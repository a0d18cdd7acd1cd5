"""Says at the end of a run which hooks a test class of a kit lacks, and what was not checked.

It also adds to each failure where the contract is that the check is about.
"""

import dataclasses
from collections.abc import Generator, Mapping
from typing import Any

import pytest

_NAME = "imsgate-testing-summary"


@dataclasses.dataclass(eq=False)  # pytest has plugins in sets
class Summary:
    """A plugin of pytest.

    ``missing`` has the hooks of each test class, with what they are for. ``sources`` say for the
    modules of checks where the contract is.
    """

    sources: Mapping[str, str]
    missing: dict[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any) -> Generator[None, Any, Any]:
        report = yield
        source = self.sources.get(getattr(item, "function", item).__module__)
        if report.failed and source:
            report.sections.append(("Contract", f"The contract of what this checks: {source}"))
        return report

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for tests, hooks in self.missing.items():
            if hooks:
                terminalreporter.section(f"{tests}: hooks not given, and what was not checked")
                width = max(map(len, hooks))
                for name, unchecked in sorted(hooks.items()):
                    terminalreporter.line(f"{name:{width}}  {unchecked}")
                terminalreporter.line("See doc/writing-a-store.md.")


def note(config: Any, tests: str, missing: Mapping[str, str], sources: Mapping[str, str]) -> None:
    """Have pytest show what the class ``tests`` lacks. Shows nothing in processes of xdist."""
    plugin = config.pluginmanager.get_plugin(_NAME)
    if plugin is None:
        plugin = Summary(sources)
        config.pluginmanager.register(plugin, _NAME)
    plugin.missing[tests] = missing
