"""The page about metrics, and what every metric must have."""

import re

import pytest

from imsgate import metrics
from tests.metrics import run, table


@pytest.fixture(scope="module")
def families():
    return run.families()


def test_the_page_is_fresh():
    assert table.DOC.read_text() == table.text(), "run: make sample"


def test_everything_that_is_counted_is_counted_in_the_run(families):
    """A metric that no code counts would be on the page, and in no dashboard."""
    counted = {metric.name for metric in families if metric.samples}
    assert set(metrics.ALL) - counted == set()


def test_names_follow_the_conventions(families):
    for metric in families:
        assert re.fullmatch(r"imsgate(_[a-z]+)+", metric.name)
        if metric.type == "histogram":
            assert metric.name.endswith("_seconds")
        assert metric.documentation.endswith(".")
    names = [metric.name for metric in families]
    assert len(names) == len(set(names))


def test_nothing_of_users_and_images_is_in_a_label(families):
    text = repr([metric.samples for metric in families])
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-|127\.0\.0\.1|/tmp/", text)
