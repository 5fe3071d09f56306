"""The Kubernetes manifests against our rules for what they start."""

import re
from ipaddress import ip_address, ip_network
from typing import Any, Literal

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from activities import _ssrf
from activities._mail_target import MAIL_PORTS
from tests.integration.deploy.compose import ROOT
from tests.integration.deploy.compose import load as compose
from tests.integration.deploy.hosts import (
    KUBERNETES,
    SECRET,
    kustomization,
    manifests,
    named,
    pods,
    settings_names,
)
from tests.integration.deploy.test_compose import VALUES

PODS = dict(pods())
PUBLIC = named("NetworkPolicy", "public")
VERSIONS = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
    "ServiceAccount": "v1",
}
DEPLOYMENTS = ["sojourn-api", "sojourn-mail-poller", "sojourn-worker"]


class PodSecurity(BaseModel):
    """The fields in Kubernetes' own spelling."""

    model_config = ConfigDict(extra="forbid")
    runAsNonRoot: Literal[True]
    runAsUser: int = Field(ge=10_000)
    runAsGroup: int = Field(ge=10_000)
    fsGroup: int
    seccompProfile: dict[str, str]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def probed(pod: dict[str, Any]) -> dict[str, str]:
    [container] = containers(pod)
    return {
        kind: container[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe")
        if kind in container
    }


def test_every_file_is_applied_or_optional() -> None:
    listed = set(kustomization()["resources"]) | {"kustomization.yaml"}
    assert {path.name for path in KUBERNETES.glob("*.yaml")} == listed


@pytest.mark.parametrize("place", range(len(manifests())))
def test_every_object_is_one_that_kubernetes_knows(place: int) -> None:
    one = manifests()[place]
    assert one["apiVersion"] == VERSIONS[one["kind"]]
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,62}", one["metadata"]["name"])
    # Kubernetes' own schemas, unknown fields refused.
    kubernetes_validate.validate(one, "1.37", strict=True)


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_have_no_rights_to_spare(name: str) -> None:
    spec = PODS[name]["spec"]
    security = PodSecurity.model_validate(spec["securityContext"])
    assert security.seccompProfile == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all(set(volume) <= {"name", "emptyDir"} for volume in spec["volumes"])
    for container in containers(PODS[name]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
    namespace = named("Namespace", "sojourn")["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", sorted(PODS))
def test_secrets_come_by_reference_and_only_where_they_are_needed(name: str) -> None:
    [container] = containers(PODS[name])
    service = compose(VALUES)["services"][container["name"]]
    names = {variable["name"] for variable in container["env"]}
    assert names <= settings_names()
    for variable in container["env"]:
        if SECRET.search(variable["name"]):
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] == variable["name"]
            owner = (name, variable["name"]) == ("sojourn-migrate", "DATABASE_URL")
            assert reference["name"] == ("sojourn-migrate" if owner else "sojourn")
    # The same as compose gives it, and what Temporal Cloud needs.
    given = {variable for variable in service["environment"] if SECRET.search(variable)}
    assert {variable for variable in names if SECRET.search(variable)} - given <= {
        "TEMPORAL_API_KEY"
    }
    assert given <= names


def test_no_file_holds_a_secret() -> None:
    assert not [one for one in manifests() if one["kind"] == "Secret"]
    values = named("ConfigMap", "sojourn")["data"]
    assert set(values) <= settings_names()
    assert not [name for name in values if SECRET.search(name)]


@pytest.mark.parametrize("name", sorted(PODS))
def test_images_are_set_in_one_place(name: str) -> None:
    [image] = kustomization()["images"]
    assert {container["image"] for container in containers(PODS[name])} == {image["name"]}
    assert image.get("digest") or image["newTag"] != "latest"


def test_selectors_find_their_pods() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in PODS.items()}
    for one in manifests():
        spec = one.get("spec", {})
        selector = {
            "Deployment": lambda s: s["selector"]["matchLabels"],
            "PodDisruptionBudget": lambda s: s["selector"]["matchLabels"],
            "Service": lambda s: s["selector"],
            "NetworkPolicy": lambda s: s["podSelector"].get("matchLabels", {}),
        }.get(one["kind"])
        if selector is None:
            continue
        found = [name for name, has in labels.items() if selector(spec).items() <= has.items()]
        if one["kind"] == "NetworkPolicy":
            assert found, one["metadata"]["name"]
        else:
            assert found == [one["metadata"]["name"]]


def test_probes_do_not_kill_what_waits_for_temporal() -> None:
    api, worker = PODS["sojourn-api"], PODS["sojourn-worker"]
    # /readyz fails without Temporal and without workers, when the API still takes starts.
    assert set(probed(api).values()) == {"/healthz"}
    # A worker's /healthz fails without Temporal.
    assert probed(worker)["livenessProbe"] == "/metrics"
    assert probed(worker)["readinessProbe"] == probed(worker)["startupProbe"] == "/healthz"
    for pod in (api, worker):
        [container] = containers(pod)
        ports = {port["name"] for port in container["ports"]}
        for kind in probed(pod):
            assert container[kind]["httpGet"]["port"] in ports


def test_pods_get_longer_to_stop_than_they_take() -> None:
    [container] = containers(PODS["sojourn-worker"])
    values = {one["name"]: one.get("value") for one in container["env"]}
    grace = PODS["sojourn-worker"]["spec"]["terminationGracePeriodSeconds"]
    # Ten seconds after its grace a worker ends itself.
    assert grace >= int(values["SOJOURN_SHUTDOWN_GRACE"]) + 20
    [api] = containers(PODS["sojourn-api"])
    sleep = int(api["lifecycle"]["preStop"]["exec"]["command"][1])
    assert PODS["sojourn-api"]["spec"]["terminationGracePeriodSeconds"] >= sleep + 20


def test_nothing_enters_or_leaves_by_default() -> None:
    assert named("NetworkPolicy", "deny-all")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    assert PODS["sojourn-migrate"]["metadata"]["labels"]["sojourn/egress"] == "internal"
    for name in DEPLOYMENTS:
        assert PODS[name]["metadata"]["labels"]["sojourn/egress"] == "public"


def leaves(address: str, policy: dict[str, Any] = PUBLIC) -> bool:
    """Whether a policy of egress lets this address through."""
    one = ip_address(address)
    return any(
        one in ip_network(block["ipBlock"]["cidr"])
        and not any(one in ip_network(net) for net in block["ipBlock"].get("except", []))
        for rule in policy["spec"]["egress"]
        for block in rule["to"]
        if "ipBlock" in block
        and one.version == ip_network(block["ipBlock"]["cidr"]).version
    )  # fmt: skip


def test_the_second_wall_is_as_high_as_the_first() -> None:
    guarded = {*_ssrf._NOT_PUBLIC_V4, *_ssrf._NOT_PUBLIC_V6, *_ssrf._NEVER}
    for network in guarded:
        edges = (network.network_address, network.broadcast_address)
        assert not any(leaves(str(address)) for address in edges), network
    for address in ("127.0.0.1", "::1", "fc00::1", "fe80::1", "64:ff9b::a9fe:a9fe", "::ffff:a00:1"):
        assert not leaves(address)
    for address in ("8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::8a"):
        assert leaves(address)
        assert _ssrf.is_public(ip_address(address))
    [rule] = PUBLIC["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == _ssrf.WEB_PORTS | MAIL_PORTS
    assert {port["protocol"] for port in rule["ports"]} == {"TCP"}
    for block in rule["to"]:
        within = ip_network(block["ipBlock"]["cidr"])
        for network in map(ip_network, block["ipBlock"]["except"]):
            # Kubernetes refuses an exception that is not inside.
            assert network.version == within.version
            assert network.subnet_of(within)  # pyright: ignore[reportArgumentType]


def at(node: Any, path: str) -> tuple[Any, Any]:
    """The parent and the key that a JSON pointer names."""
    *parents, last = path.strip("/").split("/")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node, int(last) if isinstance(node, list) else last


def test_temporal_cloud_patches_what_is_there() -> None:
    overlay = kustomization("temporal-cloud")
    assert overlay["resources"] == ["../kubernetes"]
    for patch in overlay["patches"]:
        target = named(patch["target"]["kind"], patch["target"]["name"])
        for change in yaml.safe_load(patch["patch"]):
            parent, key = at(target, change["path"])
            assert change["op"] in {"add", "replace"}
            assert change["op"] == "add" or key in (
                range(len(parent)) if isinstance(parent, list) else parent
            )
            if change["path"] == "/spec/egress/2/to":
                assert target["spec"]["egress"][2]["ports"] == [{"port": 7233, "protocol": "TCP"}]
                policy = {"spec": {"egress": [{"to": change["value"]}]}}
                assert not leaves("169.254.169.254", policy)
                assert not leaves("10.0.0.1", policy)
                assert leaves("3.120.1.1", policy)
            if change["path"].startswith("/data/"):
                assert key in settings_names()


def test_keda_counts_the_queue_that_the_workers_poll() -> None:
    scaled = yaml.safe_load((KUBERNETES / "optional/keda.yaml").read_text())
    assert (scaled["apiVersion"], scaled["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] in PODS
    assert scaled["spec"]["minReplicaCount"] >= 1
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["type"] == "temporal"
    values = named("ConfigMap", "sojourn")["data"]
    metadata = trigger["metadata"]
    assert metadata["endpoint"] == values["TEMPORAL_ADDRESS"]
    assert metadata["namespace"] == values["TEMPORAL_NAMESPACE"]
    assert metadata["taskQueue"] == values["SOJOURN_TASK_QUEUE"]
    # KEDA reads texts only.
    assert all(isinstance(value, str) for value in metadata.values())


def test_commands_are_those_of_the_image() -> None:
    services = compose(VALUES)["services"]
    for pod in PODS.values():
        [container] = containers(pod)
        assert container["args"] == services[container["name"]]["command"]
        assert "command" not in container
    assert "ENTRYPOINT" not in (ROOT / "deploy/Dockerfile").read_text()
