"""Freeze the list of volumes: the digest is what every cached stage depends on."""

from dataclasses import dataclass

from components.shared.snapshots import VolumeEntry, list_entries, read_snapshot, write_snapshot

__all__ = ["Config", "VolumeEntry", "read_snapshot", "snapshot"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the volumes are and how their patients are known."""

    volumes_uri: str
    patient_pattern: str
    state_uri: str
    minimum_patients: int = 3  # one each to train, validate and test on


def snapshot(config: Config) -> str:
    """Store the list of volumes; its digest changes exactly when a name or a content does."""
    entries = list_entries(config.volumes_uri, config.patient_pattern, config.minimum_patients)
    return write_snapshot(config.state_uri, entries)
