"""The digest of the code that makes results, so that edited code never meets results of other code."""

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from components.shared.faults import InputError

_PACKAGES = ("components", "stylegan2_ada")
_NOT_RESULTS = ("report",)  # read anew on every run; nothing descends from it


def code_digest(*parts: str) -> str:
    """Return a hash of the sources whose code changes a model or a plane, or of some parts of them.

    A part is a package, or a folder of one such as components/train_gan.
    """
    total = hashlib.sha256()
    for package in _PACKAGES:
        for path, name in _sources(package):
            if not parts or name.startswith(tuple(f"{part}/" for part in parts)):
                total.update(f"{name}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _sources(package: str) -> Iterator[tuple[Path, str]]:
    """Yield a package's modules and their names, without importing it: the small image has no torch."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"package {package}: not installed; valid: an image that holds its sources")
    for root in map(Path, spec.submodule_search_locations):
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root)
            if name.parts[0] not in _NOT_RESULTS:
                yield path, f"{package}/{name.as_posix()}"


def versions() -> dict[str, str]:
    """Return the versions a report names."""
    return {"fontanelle": version("fontanelle"), "code": code_digest()[:12]}
