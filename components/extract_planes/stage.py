"""Cut coronal and sagittal planes from every volume of a snapshot, by anatomy and by content.

Each volume's planes are kept in the state (kept_planes.py). `extract_shard` cuts those of every n-th volume,
so that several pods share the work; `extract_planes` cuts what is still missing and joins all into one
PlaneSet. So the result does not depend on the number of shards, and a new scan costs one volume.
"""

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from components.extract_planes.cut import Cuts, cut_planes, requested, volume_hash
from components.extract_planes.kept_planes import CODE, kept_uri, new_kept, open_kept
from components.shared import passports, storage
from components.shared.code import code_digest
from components.shared.faults import InputError
from components.shared.forgotten import forgotten_scans, require_remembered
from components.shared.geometry import Anatomy
from components.shared.owners import require_there
from components.shared.passports import Passport
from components.shared.planes import CLASSES, UNCERTAIN, PlaneRow, PlaneSetWriter
from components.shared.progress import Progress, emit, silent
from components.shared.snapshots import VolumeEntry, read_snapshot, require_one_owner, require_unchanged
from components.shared.volumes import MAX_HEADER, Volume, data_files, read_header, read_volume

__all__ = ["Config", "Cuts", "extract_planes", "extract_shard"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which volumes, and which planes of each."""

    volumes_uri: str
    state_uri: str
    snapshot_digest: str
    cuts: Cuts

    def settings(self) -> Mapping[str, object]:
        """Return what the PlaneSet depends on; the places are not among it."""
        return {**self.cuts.settings(), "snapshot_digest": self.snapshot_digest}

    def kept_of(self, entry: VolumeEntry) -> str:
        """Return where a volume's planes are kept."""
        return kept_uri(self.state_uri, entry, self.cuts.settings(), self._code)

    @cached_property
    def _code(self) -> str:
        return code_digest(*CODE)  # once, not for every volume: it reads all sources


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A volume ready to be cut, or why it is not."""

    entry: VolumeEntry
    fault: str = ""  # after the file's name, which the passport drops
    content: str = ""  # hash of its files
    volume: Volume | None = None
    anatomy: Anatomy | None = None


def extract_shard(config: Config, shard: int, shards: int, progress: Progress = silent) -> None:
    """Cut and keep the planes of every volume whose place in the snapshot is `shard` modulo `shards`."""
    _cut_missing(config, read_snapshot(config.state_uri, config.snapshot_digest)[shard::shards], progress)


def extract_planes(config: Config, out: Path, progress: Progress = silent) -> Mapping[str, int]:
    """Write the PlaneSet of a snapshot, passports beside it, and return its count of planes by label."""
    entries = read_snapshot(config.state_uri, config.snapshot_digest)
    _cut_missing(config, entries, progress)
    cuts, found = config.cuts, []
    first: dict[str, VolumeEntry] = {}
    writer = PlaneSetWriter(folder=out, side=cuts.side_px, channels=cuts.channels, settings=config.settings())
    with writer:
        for entry in entries:
            with open_kept(config.kept_of(entry)) as kept:
                if _is_copy(entry, kept.passport, first):
                    continue
                about = kept.passport
                found.append(about)
                for png, row in kept.planes():
                    writer.add_png(png, replace(row, verdict=about.verdict, scan=about.voxels))
        _require_one_left(config, found)
        # A pod that was killed as it kept one may not have asked.
        require_remembered(config.state_uri, (), {passport.voxels for passport in found} - {""})
        passports.write(out / passports.PASSPORTS, found)
    progress(writer.counts.total(), writer.counts.total())
    return {label: writer.counts[label] for label in (*CLASSES, UNCERTAIN)}


def _is_copy(entry: VolumeEntry, passport: Passport, first: dict[str, VolumeEntry]) -> bool:
    """Tell whether a volume's content was met before, under its patient; refuse it under another one.

    A store may have several digests for the same bytes (an ETag of S3 depends on how they were sent), and the
    same voxels may be written in two encodings, so that the snapshot alone does not tell.
    """
    if passport.verdict == passports.REFUSE:
        return False
    other = first.setdefault(passport.voxels, entry)
    require_one_owner(other, entry)
    return other is not entry


def _require_one_left(config: Config, found: Sequence[Passport]) -> None:
    if all(passport.verdict == passports.REFUSE for passport in found):
        raise InputError(
            f"volumes_uri={config.volumes_uri}: none of {len(found)} volumes is usable, the first because of"
            f" {found[0].reason}"
        )


def _cut_missing(config: Config, entries: Sequence[VolumeEntry], progress: Progress) -> None:
    """Cut the volumes whose planes are not kept yet; the next one is read while one is cut."""
    require_remembered(config.state_uri, [entry.patient for entry in entries])
    missing = [entry for entry in entries if not storage.exists(config.kept_of(entry))]
    require_unchanged(config.volumes_uri, missing)
    done, gone = 0, forgotten_scans(config.state_uri)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(os.cpu_count()) as pool:
        for place, opened in enumerate(_read_ahead(config, missing, reader)):

            def report(cut: int, of: int, before: int = done, place: int = place) -> None:
                # How many planes a volume gives is known only once it is read: until then, the mean.
                total = round((before + of) / (place + 1) * len(missing))
                progress(before + cut, max(total, before + of))

            done += _keep(config, _unless(gone, opened), pool, report)


def _read_ahead(
    config: Config, entries: Sequence[VolumeEntry], reader: ThreadPoolExecutor
) -> Iterator[_Opened]:
    """Yield volumes in order while the next one is read: two are in memory at a time."""
    ahead: Future[_Opened] | None = None
    for entry in entries:
        after = reader.submit(_open, config, entry)
        if ahead is not None:
            yield ahead.result()
        ahead = after
    if ahead is not None:
        yield ahead.result()


def _open(config: Config, entry: VolumeEntry) -> _Opened:
    """Read a volume and find its anatomy; what its files have against it is said, not raised.

    What a store or this machine's disk refuses is raised: it says nothing of the volume, and would be kept.
    """
    try:
        require_there(entry.name, entry.digest)
    except InputError as error:
        return _unusable(entry, error)
    try:
        with _fetched(config.volumes_uri, entry.name) as files:
            return _read(config, entry, files)
    except FileNotFoundError:
        require_unchanged(config.volumes_uri, [entry])  # it was taken away meanwhile, or never there
        return _unusable(entry, "data file: absent; valid: a file that exists beside its header")


def _read(config: Config, entry: VolumeEntry, files: Sequence[Path]) -> _Opened:
    """Return a volume with its anatomy, or with what its files have against it."""
    content = ""
    try:
        read_header(files[0], config.cuts.missing_geometry)  # before other files are even opened
        content = volume_hash([storage.hash_file(file) for file in files])
        volume = read_volume(files[0], config.cuts.missing_geometry)
        anatomy = Anatomy.of(volume, config.cuts.window)
        requested(config.cuts, anatomy)  # refuses a header whose unit asks for planes without end
        return _Opened(entry=entry, content=content, volume=volume, anatomy=anatomy)
    except InputError as error:
        return _unusable(entry, error, content)


def _unusable(entry: VolumeEntry, fault: InputError | str, content: str = "") -> _Opened:
    """Return what is known of a volume that is left out; its geometry does not know the file's name."""
    words = str(fault).removeprefix(f"{entry.name}: ")
    return _Opened(entry=entry, content=content, fault=f"{entry.name}: {words}")


def _unless(gone: Collection[str], opened: _Opened) -> _Opened:
    """Return a volume, or why it is left out: a scan of a forgotten patient, whoever is said to be on it."""
    if opened.volume is None or not gone or passports.shown_hash(opened.volume) not in gone:
        return opened
    return _unusable(opened.entry, "scan of a patient who was forgotten; valid: taken away", opened.content)


def _keep(config: Config, opened: _Opened, pool: ThreadPoolExecutor, progress: Progress) -> int:
    """Cut one volume, keep its planes and its passport, and return how many planes there are."""
    with new_kept(config.kept_of(opened.entry)) as kept:
        rows = kept.add_planes(_counted(config, opened, pool, progress))
        kept.add_passport(passport := _passport(opened, rows))
    try:
        require_remembered(config.state_uri, [opened.entry.patient], {passport.voxels} - {""})
    except InputError:  # forgotten, most likely
        storage.delete(config.kept_of(opened.entry))
        raise
    return len(rows)


def _counted(
    config: Config, opened: _Opened, pool: ThreadPoolExecutor, progress: Progress
) -> Iterator[tuple[bytes, PlaneRow]]:
    if opened.anatomy is None:
        return
    total = len(requested(config.cuts, opened.anatomy))
    planes = cut_planes(config.cuts, opened.entry, opened.content, opened.anatomy, pool)
    for done, plane in enumerate(planes, start=1):
        yield plane
        progress(done, total)


def _passport(opened: _Opened, rows: Sequence[PlaneRow]) -> Passport:
    if opened.volume is None or opened.anatomy is None:
        emit("extract_planes", "warning", message=f"left out: {opened.fault}")
        return passports.refused(opened.entry, opened.fault, opened.content)
    cuts = [(row.plane, row.angle_deg, row.offset_mm, row.content) for row in rows]
    return passports.accepted_or_suspect(opened.entry, opened.volume, opened.anatomy, opened.content, cuts)


@contextmanager
def _fetched(volumes_uri: str, name: str) -> Iterator[list[Path]]:
    """Yield a volume's file and its detached ones on this machine."""
    folder, _ = storage.split_glob(volumes_uri)
    here = storage.local_path(folder)
    if here is not None:
        yield [here / name, *(here / file for file in _detached(here / name))]
        return
    with tempfile.TemporaryDirectory() as scratch:
        # Silent, as a line about the copy would name the file, and so the patient.
        storage.download(storage.join(folder, name), Path(scratch) / name, silent)
        files = [Path(scratch) / file for file in (name, *_detached(Path(scratch) / name))]
        for file in files[1:]:
            storage.download(storage.join(folder, file.name), file, silent)
        yield files


def _detached(path: Path) -> Sequence[str]:
    """Return the names of a volume's other files; what is wrong with its header is said when that is read."""
    with path.open("rb") as file, suppress(InputError):
        return data_files(path, file.read(MAX_HEADER))
    return ()
