"""The alert rules and the dashboard in etc/."""

import json
import pathlib
import re
import subprocess

import pytest
import yaml

from tests.functional.conftest import needs_program
from tests.metrics import run

ETC = pathlib.Path(__file__).parent.parent.parent / "etc"
RULES = ETC / "prometheus-rules.yaml"

#: Each alert, and the series with which it fires. ``0x500`` is a value that stays for 500 minutes,
#: ``0+1x500`` one that grows by 1 each minute.
FIRES = {
    "ImsgateDown": {'up{job="imsgate"}': "0x500"},
    "ImsgateNoProcess": {"imsgate_processes": "0x500"},
    "ImsgateDatabaseDown": {"imsgate_database_up": "0x500"},
    "ImsgateDatabaseSlow": {
        'imsgate_phase_seconds_bucket{phase="database",le="0.5"}': "0x500",
        'imsgate_phase_seconds_bucket{phase="database",le="2.5"}': "0+1x500",
        'imsgate_phase_seconds_bucket{phase="database",le="+Inf"}': "0+1x500",
    },
    "ImsgateServerErrors": {
        'imsgate_requests_total{status="200"}': "0+9x500",
        'imsgate_requests_total{status="503"}': "0+1x500",
    },
    "ImsgateBug": {'imsgate_refusals_total{reason="internal_error"}': "0x29 1x400"},
    "ImsgateThreadsBusy": {
        'imsgate_threads_in_use{pool="requests"}': "127x500",
        'imsgate_threads{pool="requests"}': "128x500",
    },
    "ImsgateStoreFailing": {
        'imsgate_store_operation_seconds_count{store="s",outcome="store_full"}': "0+1x500"
    },
    "ImsgateStoreNotStarted": {'imsgate_store_started{store="s"}': "0x500"},
    "ImsgateStoreFills": {'imsgate_store_free_bytes{store="s"}': "100000000000-100000000x500"},
    "ImsgateStoreAlmostFull": {'imsgate_store_free_bytes{store="s"}': "1000000000x500"},
    "ImsgateDataDamaged": {'imsgate_damaged_copies{store="s"}': "1x500"},
    "ImsgateJobsWait": {"imsgate_oldest_waiting_job_seconds": "901x500"},
    "ImsgateJobsFail": {'imsgate_ended_jobs_total{state="FAIL",reason="store_full"}': "0x29 1x400"},
    "ImsgateWorkIsAbandoned": {'imsgate_leases_taken_over_total{work="image"}': "0+1x500"},
    "ImsgateDataStays": {'imsgate_jobs{kind="residue",state="RUNNING"}': "1x500"},
    "ImsgateKeystoneFails": {'imsgate_keystone_seconds_count{outcome="unavailable"}': "0+1x500"},
}

#: A host on which all is well, with the same metrics.
HEALTHY = {
    'up{job="imsgate"}': "1x500",
    "imsgate_processes": "4x500",
    "imsgate_database_up": "1x500",
    'imsgate_phase_seconds_bucket{phase="database",le="0.5"}': "0+1x500",
    'imsgate_phase_seconds_bucket{phase="database",le="+Inf"}': "0+1x500",
    'imsgate_requests_total{status="200"}': "0+99x500",
    'imsgate_requests_total{status="503"}': "0+1x500",
    'imsgate_refusals_total{reason="internal_error"}': "0x500",
    'imsgate_threads_in_use{pool="requests"}': "1x500",
    'imsgate_threads{pool="requests"}': "128x500",
    'imsgate_store_operation_seconds_count{store="s",outcome="success"}': "0+1x500",
    'imsgate_store_started{store="s"}': "1x500",
    'imsgate_store_free_bytes{store="s"}': "1000000000000-1000x500",
    'imsgate_damaged_copies{store="s"}': "0x500",
    "imsgate_oldest_waiting_job_seconds": "10x500",
    'imsgate_ended_jobs_total{state="FAIL",reason="image_refused"}': "0+1x500",
    'imsgate_leases_taken_over_total{work="image"}': "1x500",
    'imsgate_jobs{kind="residue",state="RUNNING"}': "0x500",
    'imsgate_keystone_seconds_count{outcome="success"}': "0+1x500",
}

#: When it fires, in minutes: those that wait longer.
LATER = {"ImsgateStoreFills": 100, "ImsgateDataStays": 400}
SOON = 40


def _alerts():
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def _panel_expressions():
    dashboard = json.loads((ETC / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.fixture(scope="module")
def known():
    """The names of all series, and the labels that each has."""
    labels = {"up": {"job", "instance"}}
    for family in run.families():
        # What the run did not make has the labels of its kind nevertheless.
        for sample in family.samples:
            labels.setdefault(sample.name, {"instance"}).update(sample.labels)
    return labels


def _selectors(expression):
    """Names of metrics, and the labels with which they are selected."""
    for name, _, matchers in re.findall(r"\b(imsgate_\w+|up\b)(\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)=", matchers))


@pytest.mark.parametrize(
    "expressions",
    [
        pytest.param(lambda: [(n, rule["expr"]) for n, rule in _alerts().items()], id="rules"),
        pytest.param(lambda: list(_panel_expressions()), id="dashboard"),
    ],
)
def test_metrics_and_labels_exist(expressions, known):
    for title, expression in expressions():
        selectors = list(_selectors(expression))
        assert selectors, title
        for name, labels in selectors:
            assert name in known, (title, name)
            assert labels <= known[name], (title, name)


def test_every_metric_is_on_the_dashboard(known):
    shown = {name for _, text in _panel_expressions() for name, _ in _selectors(text)}
    bases = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    wanted = {re.sub("_(bucket|sum|count)$", "", name) for name in known} - {"up"}
    assert wanted - bases == {"imsgate_build_info"}


def _promtool(*arguments):
    done = subprocess.run(
        [needs_program("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid():
    _promtool("check", "rules", RULES)


def test_the_expressions_of_the_dashboard_are_valid(tmp_path):
    expressions = [text for _, text in _panel_expressions()]
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    _promtool("check", "rules", path)


def _case(series, firing, minutes=SOON):
    """Of all alerts, only those in ``firing`` fire after so many minutes."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minutes}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)
                ],
            }
        ],
    }


def test_each_alert_fires_and_none_does_on_a_healthy_host(tmp_path):
    assert FIRES.keys() == _alerts().keys()
    cases = [_case(HEALTHY, (), 400)]
    for name, series in FIRES.items():
        wrong = {key: text for key, text in HEALTHY.items() if key not in series}
        cases.append(_case({**wrong, **series}, [name], LATER.get(name, SOON)))
    tests = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": cases}
    path = tmp_path / "tests.yaml"
    path.write_text(json.dumps(tests))
    _promtool("test", "rules", path)
