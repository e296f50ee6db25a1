"""The digest of the code that makes results, so that edited code never meets results of other code."""

import hashlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("components", "stylegan2_ada")
_NOT_RESULTS = ("report",)  # read anew on every run; nothing descends from it


def code_digest() -> str:
    """Return a hash of the sources of the packages whose code changes a model or a plane."""
    total = hashlib.sha256()
    for package in _PACKAGES:
        root = _folder(package)
        for path in sorted(root.rglob("*.py")) if root else []:
            name = path.relative_to(root)
            if name.parts[0] not in _NOT_RESULTS:
                total.update(f"{package}/{name.as_posix()}\0".encode() + path.read_bytes())
    return total.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions a report names."""
    return {"fontanelle": version("fontanelle"), "code": code_digest()[:12]}


def _folder(package: str) -> Path | None:
    """Where a package's sources are, without importing it: the small image has no torch."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])
