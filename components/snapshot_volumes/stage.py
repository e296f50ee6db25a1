"""Freeze the list of volumes: the digest is what every cached stage depends on."""

from dataclasses import dataclass

from components.shared.forgotten import forget, forgotten
from components.shared.progress import emit
from components.shared.pseudonyms import read_pseudonyms
from components.shared.snapshots import Source, VolumeEntry, list_entries, read_snapshot, write_snapshot

__all__ = ["Config", "VolumeEntry", "read_snapshot", "snapshot"]


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

    Volumes of forgotten patients are left out.
    """
    if config.forget_patient:
        removed = forget(config.state_uri, config.forget_patient)
        emit("snapshot_volumes", "warning", message=f"forgotten: {len(removed)} objects removed")
    source = Source(
        volumes_uri=config.volumes_uri,
        patient_pattern=config.patient_pattern,
        minimum_patients=config.minimum_patients,
    )
    pseudonyms = read_pseudonyms(config.pseudonym_key_uri, config.state_uri)
    return write_snapshot(config.state_uri, list_entries(source, pseudonyms, forgotten(config.state_uri)))
