"""A state that knows two patients: one of them is forgotten, and one stays."""

import json

import numpy as np

from components.extract_planes.kept_planes import new_kept
from components.shared import storage
from components.shared.descendants import LEASES, SEEN
from components.shared.planes import PlaneRow
from components.shared.png import encode_png
from components.shared.splits import Splits

FREE = {"owner": "a", "renewed": 0.0, "host": "h", "process": 1, "machine": "m", "boot": "b"}
SCANS = {name: name * 16 for name in "ab"}  # by the hash of what they show
B32, B64 = "b" * 32, "b" * 64
GONE, STAYS = "3fa1-7c21e09b4d", "3fa1-0000000001"


def write_kept(uri, patient, scan, file):
    row = PlaneRow(image=f"coronal/{patient}.png", label="coronal", patient=patient)
    with new_kept(uri) as kept:
        kept.add_planes([(encode_png(np.zeros((4, 4), np.uint8)), row)])
        kept.archive.writestr("passport.json", json.dumps({"patient": patient, "voxels": scan, "file": file}))


def put(uri, value):
    text = value if isinstance(value, str) else json.dumps(value)
    assert storage.create(uri, text.encode())


def write_state(uri):
    """Write what runs keep of GONE, named a, and of STAYS, named b."""
    for number, (name, patient) in enumerate((("a", GONE), ("b", STAYS)), 1):
        seen = {"patients_seen": [patient], "scans_seen": [SCANS[name]]}
        write_kept(f"{uri}/planes/{name * 32}.zip", patient, SCANS[name], f"sha256:{name}")
        listed = {"name": "x.nrrd", "patient": patient, "session": f"s {name}", "digest": f"sha256:{name}"}
        put(f"{uri}/snapshots/{name * 64}.json", [listed])
        put(f"{uri}/finished/{name * 24}.json", {"snapshot_digest": name * 64})
        put(f"{uri}/run_{name}/run.json", {"sides": {patient: "train"}})
        put(f"{uri}/run_{name}/rounds/000/classifier.json", seen)
        put(f"{uri}/run_{name}/rounds/000/classifier-00.safetensors", "weights")
        put(f"{uri}/generators/{name}/generator.json", seen)
        put(f"{uri}/generators/{name}/generator.safetensors", "weights")
        entry = {"digest": name, "patients": [patient], "snapshot_digest": "c" * 64}
        put(f"{uri}/generators/000{number}.json", entry)
        put(f"{uri}/gan/{SEEN}/{name}.json", seen)
        put(f"{uri}/gan/{LEASES}/{name}/lease.json", FREE)
        put(f"{uri}/gan/{name}/checkpoint.json", {})
    put(f"{uri}/splits/0001.csv", Splits({STAYS: 0}, {STAYS: "test"}).text())
    both = Splits({STAYS: 0, GONE: 1}, {STAYS: "test", GONE: "validation"})
    put(f"{uri}/splits/0002.csv", both.text())
    put(f"{uri}/pseudonym.key", "k" * 32)


def move(state):
    """List a scan of STAYS, which planes and models have learnt from, as GONE's, and cut it again."""
    listed = {"name": "x.nrrd", "patient": GONE, "session": "s", "digest": "sha256:b"}
    put(f"{state}/snapshots/{'0' * 64}.json", [listed])
    write_kept(f"{state}/planes/{'0' * 32}.zip", GONE, SCANS["b"], "sha256:b")
    put(f"{state}/study/run.json", {"snapshot_digest": B64, "sides": {STAYS: "test"}})
    put(f"{state}/run_b/rounds/001/classifier.json", {"scans_seen": [SCANS["b"]]})
    put(f"{state}/run_d/run.json", {"sides": {STAYS: "train"}})


def objects(state):
    return {found.name for found in storage.list_tree(state)}
