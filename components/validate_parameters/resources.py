"""What a run asks of a cluster: cores, memory, GPUs, and the nodes that have them."""

import re
from typing import Any

from components.validate_parameters.requirements import require

# Quantities as Kubernetes writes them.
_CORES = re.compile(r"([0-9]+(?:\.[0-9]{1,3})?)|([0-9]+)m")
_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?")
_SIZES = {unit: 1024 ** (power + 1) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"))}
_SIZES |= {unit: 1000 ** (power + 1) for power, unit in enumerate("kMGT")}
_GPUS = re.compile(r"[0-9]|[1-5][0-9]|6[0-4]")  # of one task: more than any node has
_MOST = 32 * 2**40  # bytes, and cores: more than any node has, so a pod that asks for more waits for ever
_MOST_CORES = 1024

_DNS = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_OBJECT = re.compile(rf"(?=.{{1,253}}$){_DNS}(\.{_DNS})*")
_PART = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"((?=[^/]{{1,253}}/){_DNS}(\.{_DNS})*/)?{_PART}")
_VALUE = re.compile(rf"({_PART})?")
# What a toleration may say; each of them may be left out or empty.
_TOLERATION = {
    "key": re.compile(f"|{_KEY.pattern}"),
    "operator": re.compile("|Exists|Equal"),
    "value": _VALUE,
    "effect": re.compile("|NoSchedule|PreferNoSchedule|NoExecute"),
}
_SECONDS = "tolerationSeconds"


def default_gpu_nodes() -> dict[str, str]:
    """Return the labels of the nodes that GPU tasks run on."""
    return {"cloud.google.com/gke-accelerator": "nvidia-l4"}


def default_gpu_tolerations() -> list[dict[str, str]]:
    """Return what GPU tasks bear of their nodes."""
    return [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def is_object_name(text: str) -> bool:
    """Tell whether an object of Kubernetes can be called so."""
    return _is(_OBJECT, text)


def is_label(name: object, value: object) -> bool:
    """Tell whether a node can have such a label."""
    return _is(_KEY, name) and _is(_VALUE, value)


def check_resources(p: Any) -> None:
    """Check what a cluster is asked for, which Kubernetes would refuse only once a pod is made."""
    whole = _is(_GPUS, p.gpu_count)
    require(p, "gpu_count", whole, "a whole number up to 64 as text; 0 for nodes without a GPU")
    named = "/" in p.gpu_type and bool(_KEY.fullmatch(p.gpu_type))
    require(p, "gpu_type", named, "a resource name, e.g. nvidia.com/gpu")
    labels = all(is_label(*label) for label in p.gpu_node_selector.items())
    require(p, "gpu_node_selector", labels, 'labels as text, e.g. {"pool": "gpus"}, or {}')
    valid = 'tolerations as Kubernetes takes them, e.g. [{"key": "pool", "operator": "Exists"}], or []'
    require(p, "gpu_tolerations", all(map(_is_toleration, p.gpu_tolerations)), valid)
    for name in ("cpu", "gpu_cpu"):
        require(
            p, name, 0 < _cores(getattr(p, name)) <= _MOST_CORES, "cores as text, e.g. 2 or 500m, up to 1024"
        )
    for name, least in (("memory", "256Mi"), ("gpu_memory", "2Gi")):  # in which numpy, and torch, fit
        fits = _bytes(least) <= _bytes(getattr(p, name)) <= _MOST
        require(p, name, fits, f"memory as text, from {least} to 32Ti, e.g. 8Gi")


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_toleration(value: object) -> bool:
    """Tell whether Kubernetes takes it: its keys, its words, and what they ask of one another."""
    if not isinstance(value, dict) or not value.keys() <= {*_TOLERATION, _SECONDS}:
        return False
    told = {name: value.get(name, "") for name in _TOLERATION}
    if not all(_is(_TOLERATION[name], text) for name, text in told.items()):
        return False
    any_value = told["operator"] == "Exists"
    if (any_value and told["value"]) or not (any_value or told["key"]):  # one without a key bears every taint
        return False
    seconds = value.get(_SECONDS, 0)  # a whole number, which the form may send as 60.0
    whole = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds % 1 == 0
    return _SECONDS not in value or (whole and told["effect"] == "NoExecute")


def _cores(text: str) -> float:
    found = _CORES.fullmatch(text)
    return float(found[1] or int(found[2]) / 1000) if found else 0.0


def _bytes(text: str) -> float:
    found = _BYTES.fullmatch(text)
    return float(found[1]) * _SIZES.get(found[2], 1) if found else 0.0
