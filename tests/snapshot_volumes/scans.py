"""Volumes of a few voxels, and how they are listed."""

import numpy as np

from components.shared.pseudonyms import Pseudonyms
from components.shared.volumes import Volume, write_volume
from components.snapshot_volumes.stage import Config

KEY = Pseudonyms(b"a key of the tests alone")
PATTERN = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$"


def write(path, level=0):
    write_volume(path, Volume(data_XYZ=np.full((4, 4, 4), level, np.uint8), affine=np.eye(4)))


def config(uri, tmp_path, pattern=PATTERN, minimum=3):
    (tmp_path / "key").write_bytes(KEY.key)
    return Config(
        volumes_uri=str(uri),
        patient_pattern=pattern,
        state_uri=str(tmp_path / "state"),
        pseudonym_key_uri=str(tmp_path / "key"),
        minimum_patients=minimum,
    )


def patients(*names):
    return [KEY.of("patient", name) for name in names]
