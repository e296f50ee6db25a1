"""Cut coronal and sagittal planes from every volume of a snapshot, by anatomy and by content.

A plane is labelled by the cut that was requested where it shows tissue, `noise` where it is empty, and
`uncertain` between: kept aside in the zip, counted, and trained on by nobody.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from components.shared import storage
from components.shared.faults import InputError
from components.shared.geometry import Anatomy, Plane, Window, planes_of
from components.shared.planes import CLASSES, NOISE, UNCERTAIN, PlaneRow, PlaneSetWriter, encode_png
from components.shared.progress import Progress, silent
from components.shared.snapshots import VolumeEntry, read_snapshot, require_unchanged
from components.shared.volumes import MAX_HEADER, data_files, read_volume

MAX_ANGLE_DEG = 45.0  # beyond it a sagittal plane is nearer to a coronal one


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which volumes, and which planes of each."""

    volumes_uri: str
    state_uri: str
    snapshot_digest: str
    plane_angles_deg: Sequence[float]  # about the superior-inferior axis
    plane_spacing_mm: float  # between two offsets; one of them is 0
    field_of_view_mm: float  # side of the square window, the same for every plane
    side_px: int = 256
    channels: int = 1  # 3 writes RGB, as the notebooks did
    noise_up_to: float = 0.02  # share of the disc that is tissue: an empty plane has no more
    anatomy_from: float = 0.10  # and a plane of anatomy no less

    def __post_init__(self) -> None:
        angles = list(self.plane_angles_deg)
        usable = bool(angles) and all(abs(angle) <= MAX_ANGLE_DEG for angle in angles)
        _require(
            self, "plane_angles_deg", usable and len(set(angles)) == len(angles), "distinct, within +-45"
        )
        _require(self, "plane_spacing_mm", 0.05 <= self.plane_spacing_mm <= 100, "0.05 to 100 mm")
        _require(self, "field_of_view_mm", 1 <= self.field_of_view_mm <= 1000, "1 to 1000 mm")
        _require(self, "side_px", 16 <= self.side_px <= 2048, "16 to 2048")
        _require(self, "channels", self.channels in (1, 3), "1 or 3")
        ordered = 0 <= self.noise_up_to < self.anatomy_from <= 1
        _require(
            self, "noise_up_to", ordered, f"0 or more, below anatomy_from={self.anatomy_from}, that up to 1"
        )

    def settings(self) -> dict[str, object]:
        """Return what the pixels depend on; the places are not among it."""
        values = asdict(self) | {"plane_angles_deg": [float(angle) for angle in self.plane_angles_deg]}
        return {key: value for key, value in values.items() if key not in ("volumes_uri", "state_uri")}


def extract_planes(config: Config, out: Path, progress: Progress = silent) -> Mapping[str, int]:
    """Write the PlaneSet of a snapshot and return its count of planes by label."""
    entries = read_snapshot(config.state_uri, config.snapshot_digest)
    require_unchanged(config.volumes_uri, entries)
    writer = PlaneSetWriter(
        folder=out, side=config.side_px, channels=config.channels, settings=config.settings()
    )
    with writer, ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, entry in enumerate(entries):
            for png, row, planes in _cut_volume(config, entry, pool):
                writer.add_png(png, row)
                done = len(writer.rows)
                # How many planes a volume gives is known only once it is read: until then, the mean.
                progress(
                    done, done + planes + round((done + planes) / (number + 1) * (len(entries) - number - 1))
                )
    progress(len(writer.rows), len(writer.rows))
    counts = Counter(row.label for row in writer.rows)
    return {label: counts[label] for label in (*CLASSES, UNCERTAIN)}


def _cut_volume(
    config: Config, entry: VolumeEntry, pool: ThreadPoolExecutor
) -> Iterator[tuple[bytes, PlaneRow, int]]:
    """Yield every plane of one volume in a fixed order, and how many of it are still to come."""
    window = Window(field_of_view_mm=config.field_of_view_mm, side_px=config.side_px)
    with _fetched(config.volumes_uri, entry.name) as files:
        content = _content_hash(files)
        anatomy = Anatomy.of(read_volume(files[0]), window.pixel_mm)
    planes = planes_of(anatomy, [float(angle) for angle in config.plane_angles_deg], config.plane_spacing_mm)

    def cut(plane: Plane) -> tuple[bytes, PlaneRow]:
        picture_HW, share = anatomy.sample(plane, window)
        return encode_png(picture_HW, config.channels), _row(config, entry, content, plane, share)

    for done, (png, row) in enumerate(pool.map(cut, planes), start=1):
        yield png, row, len(planes) - done


def _row(config: Config, entry: VolumeEntry, content: str, plane: Plane, share: float) -> PlaneRow:
    label = _label(config, plane, share)
    # Of name and content: a copy of a volume under another name gets names of its own.
    volume = hashlib.sha256(f"{content} {entry.name}".encode()).hexdigest()[:12]
    x, y, z = plane.axes[2]
    return PlaneRow(
        image=f"{label}/{volume}_{plane.name[0]}_{plane.angle_deg:+g}_{plane.offset_mm:+g}.png",
        label=label,
        patient=entry.patient,
        session=entry.session,
        site=entry.site,
        volume=content[:16],
        plane=plane.name,
        angle_deg=plane.angle_deg,
        offset_mm=plane.offset_mm,
        normal=f"{x:.6f} {y:.6f} {z:.6f}",
        content=round(share, 4),
    )


def _label(config: Config, plane: Plane, share: float) -> str:
    if share <= config.noise_up_to:
        return NOISE
    return plane.name if share >= config.anatomy_from else UNCERTAIN


@contextmanager
def _fetched(volumes_uri: str, name: str) -> Iterator[list[Path]]:
    """Yield a volume's file and its detached ones on this machine."""
    folder, _ = storage.split_glob(volumes_uri)
    here = storage.local_path(folder)
    if here is not None:
        yield [here / name, *(here / file for file in _detached(here / name))]
        return
    with tempfile.TemporaryDirectory() as scratch:
        storage.download(storage.join(folder, name), Path(scratch) / name)
        files = [Path(scratch) / file for file in (name, *_detached(Path(scratch) / name))]
        for file in files[1:]:
            storage.download(storage.join(folder, file.name), file)
        yield files


def _detached(path: Path) -> Sequence[str]:
    with path.open("rb") as file:
        return data_files(path, file.read(MAX_HEADER))


def _content_hash(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(storage.hash_file(file) for file in files).encode()).hexdigest()


def _require(config: Config, name: str, holds: bool, valid: str) -> None:
    if not holds:
        raise InputError(f"{name}={getattr(config, name)}: not usable; valid: {valid}")
