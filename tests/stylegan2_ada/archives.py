"""Small zips of drawn images."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def declared_png(
    width: int, height: int, *, depth: int = 8, kind: int = 2, rows: bytes = bytes(1000)
) -> bytes:
    """Return a PNG of a few bytes whose header declares an image of any size; kind 2 is RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def squares(count: int = 12, side: int = 8, seed: int = 0) -> dict[str, bytes]:
    """Draw squares of random place and brightness; return PNGs by name."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for number in range(count):
        image = np.full((side, side), 30)
        y, x = rng.integers(0, side // 2, 2)
        image[y : y + side // 2, x : x + side // 2] = rng.integers(100, 250)
        drawn[f"images/{number:03}.png"] = png(image)
    return drawn


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def labels_file(labels: object) -> dict[str, bytes]:
    return {"dataset.json": json.dumps({"labels": labels}).encode()}


def write_archive(path: Path, count: int = 12, side: int = 8, seed: int = 0) -> list[str]:
    """Write squares of random place and brightness; return the members' names."""
    files = squares(count, side, seed)
    write_zip(path, files)
    return list(files)
