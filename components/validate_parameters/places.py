"""Where things are and what they are called, so far as it shows without asking any storage."""

import re
from pathlib import PurePosixPath
from typing import Any
from unicodedata import category

from components.shared import storage
from components.shared.descendants import FOLDERS
from components.shared.faults import InputError, shown
from components.shared.images import BAKED
from components.shared.owners import compile_pattern
from components.shared.pseudonyms import KEY_FILE, is_pseudonym
from components.validate_parameters.requirements import naming, require

NEEDED = {
    "volumes_uri": "a folder, gs:// or s3://bucket/prefix with NRRD volumes",
    "state_uri": "a folder, gs:// or s3://bucket/prefix that outlives the run",
    "classifiers_uri": "the folder `published` of a finished run, or one classifier's folder",
}
URIS = (
    *NEEDED,
    "pretrained_uri",
    "gan_resume_uri",
    "pseudonym_key_uri",
    "expert_labels_uri",
    "inception_uri",
)
IN_IMAGES = ("pretrained_uri", "inception_uri")  # weights that a GPU image may hold

_BUCKETS = {
    "gs": re.compile(r"[a-z0-9][a-z0-9._-]{0,221}"),
    "s3": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"),  # old buckets have capitals
}
_ROOTS = {**_BUCKETS, "minio": _BUCKETS["s3"]}  # where KFP keeps artifacts
_RUN = re.compile(r"|[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_places(p: Any) -> None:
    """Check every address, and how patients are read from the names of files."""
    for name in _uris_of(p):
        require(p, name, bool(getattr(p, name)) or name not in NEEDED, NEEDED.get(name, ""))
        _check_uri(p, name)
    apart = not lies_in(p.volumes_uri, p.state_uri)
    require(p, "volumes_uri", apart, "a place outside state_uri, in which runs remove what is forgotten")
    compile_pattern(p.patient_pattern)


def check_names(p: Any) -> None:
    """Check what a run is called, and whom it forgets."""
    named = _RUN.fullmatch(p.run_name) is not None
    require(p, "run_name", named, "empty, or up to 63 letters, digits, '.', '_' and '-'")
    taken = (*FOLDERS, KEY_FILE)
    require(p, "run_name", p.run_name not in taken, f"another name: the state itself has {', '.join(taken)}")
    named = not p.forget_patient or is_pseudonym(p.forget_patient)
    require(p, "forget_patient", named, "empty, or a pseudonym as reports print it, e.g. 3fa1-7c21e09b4d")


def check_remote(p: Any) -> None:
    """Refuse what lies on one machine: on a cluster every task has a disk of its own."""
    valid = "gs://bucket/prefix or s3://bucket/prefix, which every pod can read"
    for name in _uris_of(p):
        uri = getattr(p, name)
        require(p, name, bool(uri) or name not in NEEDED, valid)
        baked = name in IN_IMAGES and uri.startswith(BAKED)
        if uri and not baked and ("://" not in uri or uri.startswith("file://")):
            raise InputError(f"{name}={shown(uri)}: a place on one machine; valid: {valid}")


def check_folder(p: Any, name: str) -> None:
    """Refuse a file where a folder of this machine is meant, or above it."""
    path = storage.local_path(getattr(p, name))
    for above in [path, *path.parents] if path else ():
        folder = above.is_dir() or not above.exists()
        require(p, name, folder, f"a folder, which may not be there yet; {above} is a file")


def check_pipeline_root(root: str, state_uri: str) -> None:
    """Check where KFP is told to keep a run's artifacts; empty is where its administrator keeps them."""
    scheme, divider, rest = root.partition("?")[0].partition("://")  # KFP takes a query, of an S3 store
    bucket, *parts = rest.removesuffix("/").split("/")
    known = bool(divider) and scheme in _ROOTS and _ROOTS[scheme].fullmatch(bucket) is not None
    plain = root.isprintable() and " " not in root and not {"", ".", ".."} & set(parts)
    apart = known and not lies_in(f"{scheme.replace('minio', 's3')}://{rest}", state_uri)
    if root and not (known and plain and apart):
        valid = "empty, or gs://, s3:// or minio://bucket/prefix, outside state_uri"
        raise InputError(f"pipeline_root={shown(root)}: not usable; valid: {valid}")


def lies_in(uri: str, outer: str) -> bool:
    """Tell whether a place is another one, or in it."""
    return _as_folder(uri).startswith(_as_folder(outer))


def _as_folder(uri: str) -> str:
    path = storage.local_path(uri)
    return f"{path.resolve() if path else uri}".rstrip("/") + "/"


def _uris_of(p: Any) -> list[str]:
    return [name for name in URIS if hasattr(p, name)]


def _check_uri(p: Any, name: str) -> None:
    """Refuse an address that nobody means: a pasted blank would make it that of another, empty state."""
    uri = getattr(p, name)
    ends = uri[:1] + uri[-1:]
    require(p, name, ends.isprintable() and " " not in ends, "an address without a blank at its ends")
    inside = not any(category(character) == "Cc" for character in uri)
    require(p, name, inside, "an address without line ends, tabs and the like")
    with naming(p, name):
        remote = storage.local_path(uri) is None
    if remote:  # a folder's name may hold what it likes
        _check_bucket(p, name)
    elif name in IN_IMAGES and uri.startswith(BAKED):
        baked = PurePosixPath(uri).parent == PurePosixPath(BAKED) and not uri.endswith(("/", "/.."))
        require(p, name, baked, f"{BAKED} and the name of a file that was baked into the GPU image")


def _check_bucket(p: Any, name: str) -> None:
    scheme, _, rest = getattr(p, name).partition("://")
    bucket, *parts = rest.removesuffix("/").split("/")
    known = _BUCKETS[scheme].fullmatch(bucket) is not None
    require(p, name, known, f"{scheme}://bucket/prefix, with a name that a bucket may have")
    require(p, name, rest.isprintable(), "an address of characters that can be seen")
    once = not {"", ".", ".."} & set(parts)
    require(p, name, once, "parts between single slashes, none of them '.' or '..'")
    own = bool(parts) or name != "state_uri"  # forgetting ends the uploads that are under way in it
    require(p, name, own, f"{scheme}://{bucket}/PREFIX, in which nothing else lies")
