# ruff: noqa: S603 - runs the pinned Helm with arguments of its own
"""The chart: rendered by Helm itself, validated by Kubernetes' own schemas, read back by the program."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import values_schema

from stream import __version__
from stream.settings import load

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
HELM = ROOT / ".cache/bin/helm-v4.3.1"
CASES = ("minimal", "full")
KUBERNETES = ("1.27.0", "1.32.0", "1.37.0")

Values = dict[str, Any]


def values(case: str) -> Values:
    loaded: Values = yaml.safe_load((CHART / f"ci/{case}-values.yaml").read_text(encoding="utf-8"))
    return loaded


def helm(*arguments: str, given: Values) -> subprocess.CompletedProcess[str]:
    assert HELM.exists(), f"{HELM} is missing: run `make tools`"
    return subprocess.run(
        [HELM, *arguments, "-f", "-"], input=json.dumps(given), capture_output=True, text=True, check=False, timeout=60
    )


def render(given: Values) -> dict[str, Any]:
    """Return the chart's objects by kind."""
    done = helm("template", "shop", str(CHART), "--namespace", "crm", given=given)
    assert done.returncode == 0, done.stderr
    objects = [item for item in yaml.safe_load_all(done.stdout) if item]
    kinds = {item["kind"]: item for item in objects}
    assert len(kinds) == len(objects)
    return kinds


def refusal(given: Values) -> str:
    done = helm("template", "shop", str(CHART), given=given)
    assert done.returncode != 0, done.stdout
    return done.stderr


def changed(path: str, value: Any, case: str = "minimal") -> Values:
    given = copy.deepcopy(values(case))
    level = given
    *above, last = path.split("/")
    for key in above:
        level = level.setdefault(key, {})
    level[last] = value
    return given


def test_the_pinned_helm_is_the_one_that_ran() -> None:
    done = subprocess.run([HELM, "version", "--short"], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("v4.3"), done.stdout


@pytest.mark.parametrize("case", CASES)
def test_it_lints(case: str) -> None:
    done = helm("lint", str(CHART), "--strict", given=values(case))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("case", CASES)
def test_every_object_is_valid_kubernetes(case: str, version: str) -> None:
    kinds = render(values(case))
    assert set(kinds) >= {"ConfigMap", "Deployment", "Service"}
    for item in kinds.values():
        kubernetes_validate.validate(item, version, strict=True)


def test_the_validation_would_notice() -> None:
    deployment = render(values("minimal"))["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.37.0", strict=True)


@pytest.mark.parametrize("case", CASES)
def test_the_program_reads_what_the_chart_writes(case: str, tmp_path: Path) -> None:
    kinds = render(values(case))
    path = tmp_path / "segstream.yaml"
    path.write_text(kinds["ConfigMap"]["data"]["segstream.yaml"], encoding="utf-8")
    read = load(path, {})
    path.write_text(yaml.safe_dump(values(case)["settings"]), encoding="utf-8")
    assert read == load(path, {})
    (container,) = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": read.metrics.port, "protocol": "TCP"}]
    (mounted,) = [mount for mount in container["volumeMounts"] if mount["name"] == "settings"]
    variables = {item["name"]: item["value"] for item in container["env"]}
    assert variables["SEGSTREAM_CONFIG"] == f"{mounted['mountPath']}/segstream.yaml"
    # whatever file the settings name lies in something that is mounted
    files = [read.retail_red.client_secret_file, *read.kafka_secret_files.values()]
    files += [Path(str(read.kafka[key])) for key in ("ssl.ca.location",) if key in read.kafka]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert all(str(file.parent) in mounts for file in files)


@pytest.mark.parametrize("case", CASES)
def test_the_pod_passes_the_restricted_standard(case: str) -> None:
    pod = render(values(case))["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 65532
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"livenessProbe", "readinessProbe", "resources"} <= set(container)
    assert all({"configMap", "emptyDir", "secret"} & set(volume) for volume in pod["volumes"])


def test_a_changed_setting_restarts_the_pods() -> None:
    def checksum(given: Values) -> str:
        annotations = render(given)["Deployment"]["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/config"])

    assert checksum(values("minimal")) == checksum(values("minimal"))
    assert checksum(values("minimal")) != checksum(changed("settings/batch", {"linger_s": 1}))


def test_one_owner_is_replaced_and_several_roll() -> None:
    assert render(values("minimal"))["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    rolling = render(values("full"))["Deployment"]["spec"]["strategy"]
    assert rolling == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("terminationGracePeriodSeconds", 29, "make it at least 30"),
        ("settings/drain_s", 41, "make it at least 46"),
        ("settings/drain_s", 300, "make it at least 305"),
        ("settings/kafka/max.poll.interval.ms", 25_000, "take the partitions away during a drain"),
        ("replicas", 2, "one instance must own all its partitions"),
        ("settings/metrics", {"host": "127.0.0.1"}, "the probes could not reach it"),
        ("settings/metrics", {"port": 0}, "the probes could not find it"),
        ("extraEnv", [{"name": "SEGSTREAM_DRAIN_S", "value": "200"}], "set it there"),
        ("extraEnv", [{"name": "SEGSTREAM_METRICS__PORT", "value": "1"}], "set it there"),
    ],
)
def test_contradictions_are_not_installed(path: str, value: Any, says: str) -> None:
    assert says in refusal(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [("terminationGracePeriodSeconds", 30), ("settings/drain_s", 40), ("settings/kafka/max.poll.interval.ms", 25_001)],
)
def test_the_edge_of_a_contradiction_is_allowed(path: str, value: Any) -> None:
    assert render(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("settings", {}, "missing properties 'kafka', 'retail_red', 'tables'"),
        ("replica", 2, "additional properties 'replica' not allowed"),
        ("settings/bach", {}, "additional properties 'bach' not allowed"),
        (
            "settings/kafka/sasl.password",
            "x",
            "at '/settings/kafka': additional properties 'sasl.password' not allowed",
        ),
        ("settings/retail_red/slots", 900, "settings/retail_red/slots"),
        ("image/digest", "sha256:short", "image/digest"),
        ("secrets", [{"name": "a/b", "existingSecret": "x"}], "secrets/0/name"),
    ],
)
def test_values_that_are_wrong_are_named(path: str, value: Any, says: str) -> None:
    assert says in refusal(changed(path, value))


def test_the_committed_schema_is_made_from_the_code() -> None:
    assert (CHART / "values.schema.json").read_text(encoding="utf-8") == values_schema.text(), "run `make schemas`"


def test_the_schema_has_every_value_and_no_other() -> None:
    written = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(values_schema.values_schema()["properties"]) - {"global"} == set(written)


def test_the_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
