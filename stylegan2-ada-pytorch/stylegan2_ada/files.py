"""Files that are whole or absent: written beside their place, then renamed."""

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from stylegan2_ada.errors import UsageError


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes the file afterwards; OSError where it could not be written."""
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")  # no other process writes into it
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())  # else the name might stand for nothing after a power cut
        part.replace(path)
    except OSError as error:
        if error.filename is None:  # a full disk is no error of a name, to Python
            error.filename = str(path)
        raise
    except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a full disk
        reason = str(error).partition("\n")[0]
        raise OSError(errno.EIO, f"not written, the disk may be full ({reason})", str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON."""
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON; UsageError where the file is none."""
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no JSON ({error}); valid: a file written by stylegan2_ada") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: JSON of no object; valid: a file written by stylegan2_ada")
    return value
