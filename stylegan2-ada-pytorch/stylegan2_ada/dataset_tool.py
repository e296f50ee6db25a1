"""`python -m stylegan2_ada dataset`: images of any kind become a zip that the authors' code takes too.

00000/img00000000.png and so on: square, a side of a power of two, uncompressed, all grey or all RGB
dataset.json           {"labels": null or [[name, class or vector], ...]}, and the names of "classes" where
                       folders are classes
"""

import argparse
import io
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from stylegan2_ada.decoding import Fit, Header, Pixels, headers, pictures
from stylegan2_ada.errors import UsageError
from stylegan2_ada.image_files import Files, opened
from stylegan2_ada.labels import LABELS, Label, check_labelled, read_labels
from stylegan2_ada.progress import ignore

log = logging.getLogger(__name__)

# By dataset.json where there is one, by top folder, not at all.
Labelling = Literal["file", "folders", "none"]
_LARGEST_SIDE = 8192  # pixels
_REPORT = 1000  # images between two lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `dataset` to a parser."""
    parser.add_argument("source", type=Path, help="zip or folder of images")
    parser.add_argument("out", type=Path, help="zip to write")
    parser.add_argument("--resolution", type=int, help="side of the images; default: the one they have")
    parser.add_argument("--fit", choices=get_args(Fit), default="refuse",
                        help="what to do with images that are not square; default %(default)s")  # fmt: skip
    parser.add_argument("--max-images", type=int, default=0, help="only the first so many; default: all")
    parser.add_argument("--labels", choices=get_args(Labelling), default="file",
                        help="by dataset.json, by top folder or none; default %(default)s")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Write the zip and log what is in it."""
    count = convert(
        options.source, options.out, resolution=options.resolution, fit=options.fit,
        max_images=options.max_images, labels=options.labels, on_progress=_log,
    )  # fmt: skip
    log.info("%s: %d images", options.out, count)


def _log(done: int, of: int) -> None:
    if done % _REPORT == 0:
        log.info("%d of %d images", done, of)


def convert(
    source: Path,
    out: Path,
    *,
    resolution: int | None = None,  # pixels; None: of the images, which must have one size then
    fit: Fit = "refuse",  # an image that is not square: refuse it, or crop it to its centre
    max_images: int = 0,  # the first so many by name; 0: all
    labels: Labelling = "file",
    on_progress: Callable[[int, int], None] = ignore,  # images
) -> int:
    """Write the images of a zip or folder, in order of their names, and return their number.

    UsageError where they cannot become training images or `out` exists; nothing of it is left then.
    """
    _check_arguments(out, resolution, max_images)
    with opened(source) as files:
        names = files.images()[: max_images or None]
        if not names:
            raise files.fault("no images", "a zip or a folder of some")
        labels_by_name, about = _labelled(files, names, labels)
        found = headers(files, names, fit)
        side = resolution or _common_side(files, found)
        channels = 1 if all(header.grey for header in found) else 3
        decoded = pictures(files, names, resolution=side, channels=channels)
        rows = [[_name(number), labels_by_name[name]] for number, name in enumerate(names) if labels_by_name]
        _write_whole(
            out, decoded, {"labels": rows or None, **about}, lambda done: on_progress(done, len(names))
        )
    return len(names)


def _check_arguments(out: Path, resolution: int | None, max_images: int) -> None:
    if resolution is not None and not _is_side(resolution):
        raise UsageError(
            f"resolution={resolution}: not possible; valid: a power of two, 4 to {_LARGEST_SIDE}"
        )
    if max_images < 0:
        raise UsageError(f"max_images={max_images}: not possible; valid: 0 for all, or more")
    if out.suffix != ".zip":
        raise UsageError(f"out={out}: not a zip's name; valid: one that ends in .zip")
    if out.exists():
        raise UsageError(f"out={out}: exists; valid: a new file")


def _is_side(pixels: int) -> bool:
    return 4 <= pixels <= _LARGEST_SIDE and pixels & (pixels - 1) == 0


def _common_side(files: Files, found: Sequence[Header]) -> int:
    """Return the side of all images, cropped to squares."""
    sides = [min(header.width, header.height) for header in found]
    for header, side in zip(found, sides, strict=True):
        if side != sides[0]:
            what = f"{header.name} is {side} pixels wide, {found[0].name} {sides[0]}"
            raise files.fault(what, "images of one size, or a resolution for all")
    if not _is_side(sides[0]):
        raise files.fault(f"images of {sides[0]} pixels", "a side of a power of two, or a resolution for all")
    return sides[0]


def _labelled(
    files: Files, names: Sequence[str], labels: Labelling
) -> tuple[Mapping[str, Label], Mapping[str, object]]:
    """Return the label of each image, none where there are none, and what else is to be said of them."""
    if labels == "none":
        return {}, {}
    if labels == "file":
        found = read_labels(files)
        if found:
            check_labelled(files, found, names)
        return found, {}
    folders = {name: name.partition("/")[0] for name in files.images()}
    for name, folder in folders.items():
        if name == folder:
            raise files.fault(f"{name} lies in no folder that could be its class", "folders of images")
    classes = sorted(set(folders.values()))
    return {name: classes.index(folders[name]) for name in names}, {"classes": classes}


def _name(number: int) -> str:
    return f"{number // 1000:05}/img{number:08}.png"


def _write_whole(
    out: Path, images: Iterable[Pixels], about: Mapping[str, object], on_image: Callable[[int], None]
) -> None:
    """Write a zip that takes its name when it is complete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for number, pixels in enumerate(images):
                archive.writestr(zipfile.ZipInfo(_name(number)), _png(pixels))  # of no time: equal bytes
                on_image(number + 1)
            archive.writestr(zipfile.ZipInfo(LABELS), json.dumps(about))
        part.replace(out)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _png(pixels: Pixels) -> bytes:
    """Encode C x H x W without compression, which costs more time than it saves space on a disk."""
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
