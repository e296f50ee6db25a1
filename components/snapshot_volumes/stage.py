"""Freeze the list of volumes: the digest is what every cached stage depends on."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from components.shared import storage
from components.shared.faults import InputError
from components.shared.forgotten import cut_off, finish_forgetting, forget, forgotten, noted
from components.shared.progress import emit
from components.shared.pseudonyms import Pseudonyms, read_pseudonyms, require_same_key
from components.shared.snapshots import Source, list_entries, write_snapshot
from components.shared.splits import Splits


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the volumes are, how their patients are known, and under which key they are named."""

    volumes_uri: str
    patient_pattern: str
    state_uri: str
    pseudonym_key_uri: str = ""  # "": the mounted Secret's key, or the state's own
    minimum_patients: int = 3  # one each to train, validate and test on
    forget_patient: str = ""  # a pseudonym: removed first, with whatever descends from them


def snapshot(config: Config) -> str:
    """Store the list of volumes; its digest changes exactly when a name or a content does.

    Volumes of forgotten patients are left out. Raises InputError where the state names its patients under
    another key: who was forgotten would come back, and everyone be given a new side.
    """
    pseudonyms = read_pseudonyms(config.pseudonym_key_uri, config.state_uri)
    ours = [pseudonyms.of("patient", "")]  # its first digits tell the key
    require_same_key(ours, _names_in(config.state_uri), f"state_uri={config.state_uri}")
    if config.forget_patient:
        require_same_key(ours, [config.forget_patient], f"forget_patient={config.forget_patient}")
    source = Source(
        volumes_uri=config.volumes_uri,
        patient_pattern=config.patient_pattern,
        minimum_patients=config.minimum_patients,
    )
    _forget(config, source, pseudonyms)
    return write_snapshot(config.state_uri, list_entries(source, pseudonyms, forgotten(config.state_uri)))


def _forget(config: Config, source: Source, pseudonyms: Pseudonyms) -> None:
    """Remove whom this run is asked to, and what a killed run left of others."""
    if not config.forget_patient and not cut_off(config.state_uri):
        return
    owners = _owners(source, pseudonyms)
    for patient in finish_forgetting(config.state_uri, owners) if owners is not None else ():
        emit("snapshot_volumes", "warning", message=f"{patient}: what earlier runs left of them is removed")
    if config.forget_patient:
        removed = forget(config.state_uri, config.forget_patient, owners)
        told = f"{len(removed)} objects removed"
        if owners is None:
            told += "; their planes go by the next run whose volumes tell whose scans are"
        elif not removed:
            told += " (is it a patient of this state?)"
        emit("snapshot_volumes", "warning", message=f"forget_patient={config.forget_patient}: {told}")


def _owners(source: Source, pseudonyms: Pseudonyms) -> Mapping[str, str] | None:
    """Return whose each file is, by its digest; None where faulty volumes do not tell it.

    The patient is removed all the same; the next run that can tell finishes the removal.
    """
    with suppress(InputError):  # which is raised once more as they are listed for this run
        listed = list_entries(replace(source, minimum_patients=0), pseudonyms)
        of_one = Counter(entry.digest for entry in listed)  # two empty files are nobody's scan
        return {entry.digest: entry.patient for entry in listed if of_one[entry.digest] == 1}
    return None


def _names_in(state_uri: str) -> set[str]:
    """Return the pseudonyms of whom a state has forgotten, and of whom it has given a side."""
    versions = storage.list_tree(storage.join(state_uri, "splits"))
    last = [Splits.stored(found.uri, storage.read_bytes(found.uri)) for found in versions[-1:]]
    return noted(state_uri).union(*(splits.folds for splits in last))
