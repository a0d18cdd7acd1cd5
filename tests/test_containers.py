"""The Dockerfile and the examples for Kubernetes and Kolla agree with the package.

tests/functional/test_wheel.py runs what the Dockerfile runs; test_docs.py reads the pods' options.
"""

import configparser
import json
import os
import re
import shlex
import subprocess

import pytest
import yaml

from imsgate import config
from imsgate.cmd import main
from tests import dockerfile
from tests.functional.conftest import needs_program
from tests.functional.gateway import ROOT

EXAMPLES = ROOT / "examples"
BUILD, IMAGE = dockerfile.stages()


def setup_cfg():
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg")
    return parsed


def manifests(kind):
    with open(EXAMPLES / "kubernetes/imsgate.yaml") as file:
        return [each for each in yaml.safe_load_all(file) if each["kind"] == kind]


def pods():
    owners = [*manifests("Job"), *manifests("Deployment")]
    return {owner["metadata"]["name"]: owner["spec"]["template"]["spec"] for owner in owners}


PODS = pods()


def parsed(words):
    """The arguments of a command of imsgate."""
    return main.parser(words[0]).parse_args(words)


def test_hadolint_finds_nothing():
    command = [needs_program("hadolint"), ROOT / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_a_supported_python_and_existing_extras():
    (version,) = {re.fullmatch(r"python:([\d.]+)-slim", stage.base)[1] for stage in (BUILD, IMAGE)}
    setup = setup_cfg()
    assert f"Programming Language :: Python :: {version}" in setup["metadata"]["classifiers"]
    name, extras = BUILD["ARG"].split("=")
    assert name == "EXTRAS"
    assert set(extras.split(",")) <= set(setup["options.extras_require"])


def test_the_image_runs_as_its_own_user():
    uid = re.search(r"--uid (\d+)", IMAGE["RUN"])[1]
    assert int(uid) > 0
    assert IMAGE["USER"] == f"{uid}:{uid}"


def test_every_command_finds_the_state_in_the_volume():
    state = f"{dict(IMAGE.env)['XDG_STATE_HOME']}/{config.PROJECT}"
    assert state == IMAGE["VOLUME"] == IMAGE["WORKDIR"]
    assert state in IMAGE["RUN"]


def test_the_image_serves_the_port_that_it_exposes():
    assert json.loads(IMAGE["ENTRYPOINT"]) == ["imsgate"]
    assert parsed(json.loads(IMAGE["CMD"])).bind == f"0.0.0.0:{IMAGE['EXPOSE']}"
    assert f"'127.0.0.1', {IMAGE['EXPOSE']}" in IMAGE["HEALTHCHECK"]


@pytest.mark.parametrize("path", ["imsgate", "etc/imsgate-paste.ini", "README.md", "setup.cfg"])
def test_the_build_gets_what_it_needs(path):
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in rules
    assert f"!{path.partition('/')[0]}" in rules


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_few_rights(name):
    pod = PODS[name]
    (container,) = pod["containers"]
    uid, gid = map(int, IMAGE["USER"].split(":"))
    rights = pod["securityContext"]
    assert (rights["runAsNonRoot"], rights["runAsUser"], rights["runAsGroup"]) == (True, uid, gid)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    # What may be written to.
    assert {"/var/lib/imsgate", "/tmp"} <= {
        mount["mountPath"] for mount in container["volumeMounts"]
    }
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_a_command_that_exists(name):
    (container,) = PODS[name]["containers"]
    assert parsed(container["args"]).run
    assert container["image"].startswith("registry.example.org/imsgate:")


def test_a_pod_may_finish_its_requests():
    pod = PODS["imsgate"]
    (container,) = pod["containers"]
    arguments = parsed(container["args"])
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + arguments.grace + 10
    (port,) = container["ports"]
    assert arguments.bind.endswith(f":{port['containerPort']}")
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["path"] for probe in probes} == {"/healthcheck"}


def test_selectors_find_their_pods():
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in manifests("Deployment")
    }
    (service,), (budget,) = manifests("Service"), manifests("PodDisruptionBudget")
    assert service["spec"]["selector"] == labels["imsgate"]
    assert budget["spec"]["selector"]["matchLabels"] == labels["imsgate"]
    assert labels["imsgate-worker"] != labels["imsgate"]


def test_kolla_runs_commands_that_exist():
    command = json.loads((EXAMPLES / "kolla/config.json").read_text())["command"]
    program, *words = shlex.split(command)
    assert program == "imsgate"
    assert parsed(words).bind == f"0.0.0.0:{IMAGE['EXPOSE']}"


@pytest.mark.parametrize("variable", ["KOLLA_BOOTSTRAP", "KOLLA_UPGRADE", None])
def test_kolla_prepares_the_database_with_its_variables(variable, tmp_path):
    bash = needs_program("bash")
    program = tmp_path / "imsgate"
    program.write_text("#!/bin/sh\necho imsgate $*\n")
    program.chmod(0o755)
    script = EXAMPLES / "kolla/extend_start.sh"
    done = subprocess.run(
        [bash, "-c", 'set -eu; . "$0"; echo serves', script],
        env={"PATH": f"{tmp_path}:{os.defpath}", **({variable: ""} if variable else {})},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ("imsgate db upgrade\n" if variable else "serves\n")
    assert parsed(["db", "upgrade"]).run


def test_the_role_of_kolla_installs_the_list_that_the_validator_reads():
    role = yaml.safe_load((EXAMPLES / "kolla/defaults.yml").read_text())
    (validation,) = role["imsgate_config_validation"]
    (directory,) = re.findall(
        r"etc/oslo-config-generator$", os.path.dirname(validation["generator"])
    )
    assert "imsgate.conf" in setup_cfg()["options.data_files"][directory]
    for entry in role["imsgate_services"]["imsgate"]["haproxy"].values():
        assert entry["port"] == IMAGE["EXPOSE"]
