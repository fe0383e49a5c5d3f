"""The manifests against Kubernetes' own schemas, and against what the server and its image are."""

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config import Config, parse, variable
from service.process.supervisor import KILL_AFTER
from tests.server_process import ROOT

DEPLOY = ROOT / "deploy"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def validate(manifest: Any) -> None:
    """Raises if the newest schemas that are installed know the kind otherwise, or do not know a field."""
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.fixture(params=["base", "overlays/production"])
def manifests(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What kustomize makes, by kind."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / request.param)]
    built = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(built)}


def environment(container: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.parametrize("file", sorted((DEPLOY / "kubernetes" / "base").glob("*.yaml")), ids=lambda file: file.name)
def test_the_base_fits_the_schemas_as_it_is(file: Path) -> None:
    if file.name != "kustomization.yaml":
        validate(yaml.safe_load(file.read_text()))


def test_the_pod_gets_no_variables_of_services() -> None:
    deployment = yaml.safe_load((DEPLOY / "kubernetes" / "base" / "deployment.yaml").read_text())
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_what_kustomize_makes_fits_the_schemas_and_together(manifests: dict[str, Any]) -> None:
    for manifest in manifests.values():
        validate(manifest)
    deployment = manifests["Deployment"]
    pod, labels = deployment["spec"]["template"]["spec"], deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector
        assert selector.items() <= labels.items()
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    (server,) = pod["containers"]
    ports = {port["name"] for port in server["ports"]}
    allowed = {port["port"] for rule in manifests["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert {port["targetPort"] for port in manifests["Service"]["spec"]["ports"]} | allowed <= ports
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    assert {mount["name"] for mount in server.get("volumeMounts", [])} == volumes.keys()
    if "models" in volumes:
        claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
        assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]


def test_the_pod_runs_the_server_as_its_options_and_its_image_are(manifests: dict[str, Any]) -> None:
    deployment = manifests["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (server,) = pod["containers"]
    assert environment(server).keys() <= {variable(option.name) for option in fields(Config)}
    config = parse([], environment(server))
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == {
        "grpc": config.port,
        "http": config.http_port,
        "health": config.health_port,
        "metrics": config.metrics_port,
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["grpc"]["port"] == config.health_port
    # No request is cut off: each has its time to end before the pod is killed, and no pod goes before another is ready.
    longest = server["lifecycle"]["preStop"]["sleep"]["seconds"] + config.grace_period + KILL_AFTER
    assert pod["terminationGracePeriodSeconds"] > longest
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    mounts = {mount["name"]: mount for mount in server.get("volumeMounts", [])}
    assert all(mount["readOnly"] for mount in mounts.values())
    for file in (config.tls_cert, config.tls_key):
        assert file is None or file.parent == Path(mounts["tls"]["mountPath"])
    dockerfile = (ROOT / "Dockerfile").read_text()
    if "models" in mounts:
        assert f"TEXT_CLASSIFIER_MODELS={mounts['models']['mountPath']}\n" in dockerfile
    assert RESTRICTED.items() <= server["securityContext"].items()
    assert pod["securityContext"]["runAsNonRoot"]
    (user,) = re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == int(user)


def test_kserve_s_runtime_is_a_pod_for_the_service_that_asks_for_it() -> None:
    """KServe's own schemas are not in a package. What they embed of Kubernetes is checked."""
    runtime = yaml.safe_load((DEPLOY / "kserve" / "serving-runtime.yaml").read_text())
    service = yaml.safe_load((DEPLOY / "kserve" / "inference-service.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    validate({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}})
    assert environment(container).keys() <= {variable(option.name) for option in fields(Config)}
    (port,) = container["ports"]
    assert (
        port["containerPort"] == parse([], environment(container)).port == container["readinessProbe"]["grpc"]["port"]
    )
    assert RESTRICTED.items() <= container["securityContext"].items()
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] in {known["name"] for known in runtime["spec"]["supportedModelFormats"]}
