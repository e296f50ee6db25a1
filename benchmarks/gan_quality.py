"""KID of the GAN in float32 and in its fast type, over seeds, on planes cut from volumes.

python benchmarks/gan_quality.py --volumes ../shared/data/ultrasound_like --work build/quality --out kid.json

Planes are cut and a planes classifier (ResNet-18) is trained first; its penultimate activations are the
features. The figures compare runs with each other; they are no published KID.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from stylegan2_ada import TrainingConfig, train
from stylegan2_ada.features import MetricOptions
from torch import Tensor, nn

from components.extract_planes.stage import Config as Planes
from components.extract_planes.stage import extract_planes
from components.shared import classifier
from components.shared.planes import PlaneSet
from components.shared.splits import TRAIN, Splits
from components.snapshot_volumes.stage import Config as Volumes
from components.snapshot_volumes.stage import snapshot
from components.split_patients.stage import Config as Sides
from components.split_patients.stage import split_patients
from components.train_classifier.stage import Config as Classifying
from components.train_classifier.stage import train_classifier

# Networks are small, so that all runs take minutes on two cores.
RUNS: dict[int, dict[str, Any]] = {
    32: {"channel_base": 1024, "batch": 16, "kimg": 1.6},
    64: {"channel_base": 1024, "batch": 8, "kimg": 0.8},
}
SNAPSHOTS = 4  # of each run
PATTERN = r"^(?P<patient>.+?)(_\d{4}_\d{2}_\d{2})?\.nrrd$"  # p01_2013_02_11.nrrd: patient p01


class PlaneFeatures:
    """The activations before the last layer of a planes classifier, as a detector."""

    def __init__(self, folder: Path) -> None:
        self.model = classifier.load(folder)
        self.name = f"planes classifier {self.model.architecture}"
        self.digest = str(classifier.describe(folder)["digest"])
        self.model.network.fc = nn.Identity()
        self.model.network.eval()

    @torch.inference_mode()
    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Return N x 512 features of grey images, uint8."""
        side = self.model.size_px
        grey = nn.functional.interpolate(images_NCHW.float() / 255, (side, side), mode="bilinear")
        features: Tensor = self.model.network(
            classifier.as_input(grey[:, 0], self.model.mean, self.model.std)
        )
        return features


def prepared(volumes: str, work: Path) -> tuple[PlaneSet, Splits]:
    """Cut planes and train a classifier in `work`, where that is not done."""
    state = str(work / "state")
    digest = snapshot(Volumes(volumes_uri=volumes, patient_pattern=PATTERN, state_uri=state))
    splits = split_patients(Sides(state_uri=state, snapshot_digest=digest), work / "splits.csv")
    if not (work / "planes").is_dir():
        planes = Planes(
            volumes_uri=volumes, state_uri=state, snapshot_digest=digest,
            plane_angles_deg=[-10, -5, 0, 5, 10], plane_spacing_mm=2.0, field_of_view_mm=90.0, side_px=64,
        )  # fmt: skip
        extract_planes(planes, work / "planes")
    found = PlaneSet.open(work / "planes")
    if not classifier.is_whole(work / "classifier"):
        learning = Classifying(
            architecture="resnet18", epochs=2, frozen_epochs=0, size_px=64, label_fraction=1.0
        )
        train_classifier(learning, found, splits, None, work / "classifier")
    return found, splits


def curve(
    planes: PlaneSet, members: list[str], detector: PlaneFeatures, work: Path, **settings: Any
) -> dict[str, Any]:
    """Train one network; return KID by kimg and the seconds of a thousand images."""
    config = TrainingConfig(channels=1, snapshot_kimg=settings["kimg"] / SNAPSHOTS,
                            tick_kimg=settings["kimg"] / SNAPSHOTS, **settings)  # fmt: skip
    name = f"{config.resolution}-{config.dtype}-{config.seed}"
    began = time.perf_counter()
    result = train(
        config, planes.archive, members, work / name, detector=detector,
        metric_options=MetricOptions(count=300, kept=300), checkpoint_seconds=600,
    )  # fmt: skip
    rows = [(row["kimg"], row["kid"]) for row in result.history if "kid" in row]
    seconds = time.perf_counter() - began
    print(f"{name}: KID {rows[-1][1]:.4f} at {rows[-1][0]:g} kimg, {seconds:.0f} s", flush=True)
    return {"resolution": config.resolution, "dtype": config.dtype, "seed": config.seed, "kid": rows,
            "seconds": seconds}  # fmt: skip


def print_table(curves: list[dict[str, Any]]) -> None:
    """Print the last KID of each resolution and type: mean, least and largest over seeds."""
    print(f"{'px':>4}{'dtype':>7}{'KID':>9}{'least':>9}{'largest':>9}{'s a run':>9}")
    for size, dtype in sorted({(c["resolution"], c["dtype"]) for c in curves}):
        same = [c for c in curves if (c["resolution"], c["dtype"]) == (size, dtype)]
        last = [c["kid"][-1][1] for c in same]
        seconds = sum(c["seconds"] for c in same) / len(same)
        mean = sum(last) / len(last)
        print(f"{size:>4}{dtype:>7}{mean:>9.4f}{min(last):>9.4f}{max(last):>9.4f}{seconds:>9.0f}")


def main() -> None:
    """Train every resolution, type and seed; print a table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", required=True, help="folder of NRRD volumes")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made on the way")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all curves")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(RUNS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    planes, splits = prepared(options.volumes, options.work)
    detector = PlaneFeatures(options.work / "classifier")
    members = [row.image for row in planes.rows_of(splits.patients(TRAIN))]
    curves = [
        curve(planes, members, detector, options.work, resolution=size, dtype=dtype, seed=seed, **RUNS[size])
        for size in options.sizes for seed in range(options.seeds) for dtype in ("fp32", "bf16")
    ]  # fmt: skip
    print_table(curves)
    about = {"detector": detector.name, "digest": detector.digest, "planes": len(members)}
    options.out.write_text(json.dumps({**about, "settings": RUNS, "curves": curves}, indent=1) + "\n")


if __name__ == "__main__":
    main()
