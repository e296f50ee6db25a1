"""What kustomize makes of the manifests: valid by Kubernetes' own schemas, and no wider than it should be."""

import copy
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from components.validate_parameters.resources import default_gpu_tolerations
from pipelines.submit import SERVICE_ACCOUNT

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("gke", "on-prem")
KUEUE = json.loads((Path(__file__).parent / "kueue.schema.json").read_text())
VERSIONS = ("1.31", "1.37")  # the oldest that KFP 2.17 is likely to meet, and the newest
STAGE = {"pipelines.kubeflow.org/v2_component": "true"}

kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(kubectl is None, reason="kubectl, which carries kustomize, is not here")


def render(folder):
    """Return what an overlay is made of, with addresses where an installation has to put its own."""
    made = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert made.stderr == "", "kustomize warns"
    given = made.stdout.replace("cidr: ADDRESS/", "cidr: 192.0.2.1/")
    return list(yaml.safe_load_all(given.replace("cidr: STORE/", "cidr: 192.0.2.2/")))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Each overlay, and each for a Kubeflow of several users, under the name of the namespace it is in."""
    made = {}
    for overlay in OVERLAYS:
        made[overlay, "kubeflow"] = render(MANIFESTS / "overlays" / overlay)
        folder = tmp_path_factory.mktemp(overlay).resolve()
        near = os.path.relpath(MANIFESTS, folder)
        parts = {"resources": [f"{near}/overlays/{overlay}"], "components": [f"{near}/multi-user"]}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(parts))
        made[overlay, "fontanelle"] = render(folder)
    return made


@pytest.fixture(params=[(o, n) for o in OVERLAYS for n in ("kubeflow", "fontanelle")], ids="-".join)
def place(request):
    return request.param


@pytest.fixture
def objects(place, rendered):
    return rendered[place]


def of_kind(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def check(thing, version):
    if thing["apiVersion"].startswith("kueue."):
        jsonschema.validate(thing, {**KUEUE, "$ref": f"#/$defs/{thing['kind']}"})
    else:
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_by_its_schema(version, objects):
    for thing in objects:
        check(thing, version)


def test_a_field_that_no_schema_has_is_refused(objects):
    for thing in objects:
        wrong = copy.deepcopy(thing)
        wrong.setdefault("spec", wrong)["colour"] = "red"
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            check(wrong, VERSIONS[-1])


def test_each_kind_that_a_run_needs_is_there_and_the_settings_are_not_sent(objects, place):
    kinds = {thing["kind"] for thing in objects}
    needed = {"ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "PriorityClass"}
    assert kinds >= needed | {"ResourceFlavor", "ClusterQueue", "LocalQueue"}
    assert ("Namespace" in kinds) == (place[1] == "fontanelle")
    assert not kinds & {"ConfigMap", "Secret", "PodDisruptionBudget"}


def test_everything_lies_in_one_namespace(objects, place):
    spaces = {thing["metadata"].get("namespace") for thing in objects}
    assert spaces == {None, place[1]}
    (queue,) = of_kind(objects, "ClusterQueue")
    assert queue["spec"]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": place[1]}


def test_the_account_has_the_few_rights_that_its_role_names(objects, place):
    (account,) = of_kind(objects, "ServiceAccount")
    assert account["metadata"]["name"] == SERVICE_ACCOUNT
    (role,) = of_kind(objects, "Role")
    granted = {
        (verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]
    }
    assert granted == {
        ("create", "workflowtaskresults"),
        ("patch", "workflowtaskresults"),
        ("get", "configmaps"),
        ("get", "secrets"),
    }
    assert all("resourceNames" in rule for rule in role["rules"] if rule["apiGroups"] == [""])
    subject = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": place[1]}
    assert all(binding["subjects"] == [subject] for binding in of_kind(objects, "RoleBinding"))
    assert of_kind(objects, "ClusterRoleBinding") == []


def test_only_on_gke_a_google_account_is_named(objects, place):
    (account,) = of_kind(objects, "ServiceAccount")
    named = account["metadata"].get("annotations", {})
    assert list(named) == ["iam.gke.io/gcp-service-account"] * (place[0] == "gke")


def test_policies_select_the_pods_of_runs_alone(objects):
    """KFP's own pods share the namespace: a policy without a selector would cut them off."""
    policies = of_kind(objects, "NetworkPolicy")
    assert all(policy["spec"]["podSelector"] == {"matchLabels": STAGE} for policy in policies)
    (deny,) = [p for p in policies if "egress" not in p["spec"]]
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not any("ingress" in policy["spec"] for policy in policies)
    assert all(policy["spec"]["egress"] for policy in policies if policy is not deny)


def reaches(objects, port, protocol="TCP", **target):
    """Return whether a stage may open a connection: to an address, or to a pod's labels in a namespace."""
    rules = [r for p in of_kind(objects, "NetworkPolicy") for r in p["spec"].get("egress", [])]
    assert all(rule.get("to") and rule.get("ports") for rule in rules), "an absent one means all"
    return any(
        any((p["port"], p["protocol"]) == (port, protocol) for p in rule["ports"])
        and any(is_peer(peer, **target) for peer in rule["to"])
        for rule in rules
    )


def is_peer(peer, address=None, namespace=None, labels=None):
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = address is not None and ipaddress.ip_address(address) in ipaddress.ip_network(block["cidr"])
        kept_out = [ipaddress.ip_network(cidr) for cidr in block.get("except", [])]
        return inside and not any(ipaddress.ip_address(address) in cidr for cidr in kept_out)
    wanted = (
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        peer["podSelector"]["matchLabels"],
    )
    return (namespace, labels) == wanted


def test_stages_reach_dns_kfp_and_the_kubernetes_api(objects):
    for protocol in ("UDP", "TCP"):
        assert reaches(objects, 53, protocol, namespace="kube-system", labels={"k8s-app": "kube-dns"})
    assert reaches(objects, 8080, namespace="kubeflow", labels={"component": "metadata-grpc-server"})
    for port in (8887, 8888):
        assert reaches(objects, port, namespace="kubeflow", labels={"app": "ml-pipeline"})
    assert reaches(objects, 8333, namespace="kubeflow", labels={"app": "seaweedfs"})
    for port in (443, 6443):
        assert reaches(objects, port, address="192.0.2.1")  # settings.env


def test_stages_reach_nothing_else(objects, place):
    assert not reaches(objects, 3306, namespace="kubeflow", labels={"app": "mysql"})
    assert not reaches(objects, 8333, namespace="other", labels={"app": "seaweedfs"})
    assert not reaches(objects, 8080, namespace="kubeflow", labels={"app": "ml-pipeline"})
    private = ("10.0.0.1", "100.64.0.1", "172.16.0.1", "192.168.0.1")
    assert not any(reaches(objects, 443, address=a) for a in private)
    assert not reaches(objects, 80, address="142.250.1.1")
    on_gke = place[0] == "gke"
    assert reaches(objects, 443, address="142.250.1.1") == on_gke  # Cloud Storage
    assert reaches(objects, 80, address="169.254.169.254") == on_gke  # the metadata server
    assert reaches(objects, 988, address="169.254.169.252") == on_gke
    assert reaches(objects, 53, "UDP", address="169.254.20.10") == on_gke  # names, on the node
    assert not reaches(objects, 443, address="169.254.169.254")


def test_on_gke_names_are_resolved_on_the_node_in_each_of_its_ways(rendered):
    """NodeLocal DNSCache by its address, or by its pods with Dataplane V2, and Cloud DNS."""
    cache = {"namespace": "kube-system", "labels": {"k8s-app": "node-local-dns"}}
    for target in ({"address": "169.254.20.10"}, {"address": "169.254.169.254"}, cache):
        for protocol in ("UDP", "TCP"):
            assert reaches(rendered["gke", "kubeflow"], 53, protocol, **target), (target, protocol)


def test_the_role_names_what_may_be_read_and_every_binding_leads_to_a_role(objects, place):
    (role,) = of_kind(objects, "Role")
    read = {name for rule in role["rules"] for name in rule.get("resourceNames", [])}
    assert read == {"kfp-launcher", "mlpipeline-minio-artifact"}  # KFP's own
    assert [rule["apiGroups"] for rule in role["rules"]] == [["argoproj.io"], [""], [""]]
    led = {(b["roleRef"]["kind"], b["roleRef"]["name"]) for b in of_kind(objects, "RoleBinding")}
    of_kfp = {("ClusterRole", "kubeflow-pipelines-edit")}  # which comes with a KFP of several users
    assert led == {("Role", role["metadata"]["name"])} | (of_kfp if place[1] == "fontanelle" else set())


def test_the_priority_class_throws_nobody_out_and_is_nobody_elses(objects):
    (chosen,) = of_kind(objects, "PriorityClass")
    assert f'"podPriorityClassName": "{chosen["metadata"]["name"]}"' in (ROOT / "docs/deploy.md").read_text()
    assert -10 < chosen["value"] < 0  # from -10 on down the cluster autoscaler makes no node
    assert (chosen["preemptionPolicy"], chosen["globalDefault"]) == ("Never", False)


def test_only_the_flavour_of_gpu_nodes_has_gpus_and_nobody_waits_behind_who_wants_many(objects):
    (queue,) = of_kind(objects, "ClusterQueue")
    (group,) = queue["spec"]["resourceGroups"]
    quotas = {f["name"]: {r["name"]: r["nominalQuota"] for r in f["resources"]} for f in group["flavors"]}
    assert quotas["fontanelle-cpu"]["nvidia.com/gpu"] == 0 < quotas["fontanelle-gpu"]["nvidia.com/gpu"]
    assert queue["spec"]["queueingStrategy"] == "BestEffortFIFO"
    (local,) = of_kind(objects, "LocalQueue")
    asked = f"compile --to build --literals --queue {local['metadata']['name']} "
    assert asked in (ROOT / "docs/deploy.md").read_text()


def test_a_namespace_of_its_own_lets_stages_in_and_the_object_store_lets_it_in(rendered):
    (space,) = of_kind(rendered["gke", "fontanelle"], "Namespace")
    labels = space["metadata"]["labels"]
    # `restricted` wants pods to say that they are no root, which KFP's do not.
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"


def test_one_label_finds_every_policy(objects):
    """By it docs/deploy.md takes them away for a look."""
    policies = of_kind(objects, "NetworkPolicy")
    named = {policy["metadata"]["labels"]["app.kubernetes.io/name"] for policy in policies}
    assert named == {"fontanelle"}


def test_queues_lead_to_flavours_that_exist(objects, place):
    (queue,) = of_kind(objects, "ClusterQueue")
    (local,) = of_kind(objects, "LocalQueue")
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    flavours = {flavour["metadata"]["name"]: flavour for flavour in of_kind(objects, "ResourceFlavor")}
    (group,) = queue["spec"]["resourceGroups"]
    assert [flavour["name"] for flavour in group["flavors"]] == list(flavours)
    for flavour in group["flavors"]:
        assert [resource["name"] for resource in flavour["resources"]] == group["coveredResources"]
    gpu = flavours["fontanelle-gpu"]["spec"]
    label = {"gke": "cloud.google.com/gke-accelerator", "on-prem": "nvidia.com/gpu.present"}[place[0]]
    assert list(gpu["nodeLabels"]) == [label]
    (taint,) = gpu["nodeTaints"]
    assert "tolerations" not in gpu  # it would be every task's
    (toleration,) = default_gpu_tolerations()
    assert toleration == {"key": taint["key"], "operator": "Exists", "effect": taint["effect"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_reach_what_they_set(overlay, tmp_path):
    """An edited settings.env is all that an installation changes."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    folder = tmp_path / "manifests/overlays" / overlay
    text = (folder / "settings.env").read_text()
    edited = text.replace("PROJECT", "clinic").replace("ADDRESS", "172.16.0.2")
    (folder / "settings.env").write_text(edited)
    objects = render(folder)
    (account,) = of_kind(objects, "ServiceAccount")
    named = [*account["metadata"].get("annotations", {}).values()]
    assert named == ["fontanelle-stage@clinic.iam.gserviceaccount.com"] * (overlay == "gke")
    assert reaches(objects, 443, address="172.16.0.2")
    assert not reaches(objects, 443, address="192.0.2.1") or overlay == "gke"  # there a public one
    assert not reaches(objects, 443, address="192.168.2.1")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_address_that_was_not_filled_in_is_refused(overlay):
    """Kubernetes takes no such CIDR; one that nobody has it would take, and every first task would hang."""
    text = (MANIFESTS / "overlays" / overlay / "settings.env").read_text()
    (cidr,) = re.findall(r"^kubernetes_api_cidr=(.+)$", text, re.MULTILINE)
    with pytest.raises(ValueError, match="ADDRESS"):
        ipaddress.ip_network(cidr)
    assert "192.0.2." not in "".join(path.read_text() for path in MANIFESTS.rglob("*.*") if path.is_file())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_comments_offer_to_take_away_or_add_can_be(overlay, tmp_path):
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    path = tmp_path / "manifests/overlays" / overlay / "kustomization.yaml"
    text = path.read_text()
    assert "  - queues\n" in text
    path.write_text(text.replace("  - queues\n", "").replace("  # - ", "  - "))
    kinds = {thing["kind"] for thing in render(path.parent)}
    assert "Namespace" in kinds
    assert not kinds & {"ClusterQueue", "LocalQueue", "ResourceFlavor"}


def test_the_policy_that_on_prem_offers_selects_the_pods_of_runs_and_opens_one_port(tmp_path):
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    path = tmp_path / "manifests/overlays/on-prem/kustomization.yaml"
    path.write_text(path.read_text().replace("  # - network_policy", "  - network_policy"))
    policies = of_kind(render(path.parent), "NetworkPolicy")
    (offered,) = [policy for policy in policies if policy["metadata"]["name"] == "fontanelle-storage"]
    check(offered, VERSIONS[-1])
    assert offered["spec"]["podSelector"] == {"matchLabels": STAGE}
    assert offered["metadata"]["namespace"] == "kubeflow"
    assert reaches(policies, 443, address="192.0.2.2")
    assert not reaches(policies, 443, address="192.0.2.3") and not reaches(policies, 80, address="192.0.2.2")


def test_one_object_a_file_and_overlays_hold_only_differences():
    names = {}
    for path in MANIFESTS.rglob("*.yaml"):
        (thing,) = yaml.safe_load_all(path.read_text())
        if path.name != "kustomization.yaml" and not path.name.startswith("patch_"):
            names.setdefault((thing["kind"], thing["metadata"]["name"]), []).append(path)
    offered = ("NetworkPolicy", "fontanelle-storage")  # of both overlays, each with its own storage
    assert [len(paths) for key, paths in names.items() if key != offered] == [1] * (len(names) - 1)
    listed = "".join(path.read_text() for path in MANIFESTS.rglob("kustomization.yaml"))
    assert [path.name for paths in names.values() for path in paths if path.name not in listed] == []
