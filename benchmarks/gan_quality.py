"""KID of the GAN in float32 and in its fast type, over seeds, on planes cut from volumes.

python benchmarks/gan_quality.py --volumes ../shared/data/ultrasound_like --work build/quality --out kid.json

Planes are cut and a planes classifier (ResNet-18) is trained first; its penultimate activations are the
features. The figures compare runs with each other; they are no published KID.
"tiles" is bf16 whose 3x3 convolutions at stride 1 all come from tiles, as wide layers' do on processors that
multiply the type by vectors: these networks are too narrow to have such layers.
A run that is in the work folder is not made again, and a stopped one goes on. Start the command once a core:
its processes share the runs.
"""

import argparse
import fcntl
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from scipy import stats
from stylegan2_ada import TrainingConfig, dataset, derived, train, winograd
from stylegan2_ada.devices import TYPES, computed_in
from stylegan2_ada.evaluate_network import Evaluator
from stylegan2_ada.features import MetricOptions, statistics_of
from stylegan2_ada.files import write_json
from stylegan2_ada.metrics import kernel_distance
from stylegan2_ada.training_state import TrainingState
from torch import Tensor, nn

from components.extract_planes.stage import Config as Planes
from components.extract_planes.stage import Cuts, extract_planes
from components.shared import classifier
from components.shared.planes import PlaneSet
from components.shared.splits import TRAIN, Splits
from components.snapshot_volumes.stage import Config as Volumes
from components.snapshot_volumes.stage import snapshot
from components.split_patients.stage import Config as Sides
from components.split_patients.stage import split_patients
from components.train_classifier.stage import Config as Classifying
from components.train_classifier.stage import train_classifier

# Narrow networks and small batches: a run takes minutes on a core. With --kimg runs go on.
# In so few steps the formulas' weights of R1 and path length let the discriminator win and images become one.
_SHORT = {
    "channel_base": 1024, "channel_max": 64, "batch": 8, "path_weight": 0.1, "tick_kimg": 1.5,
    "snapshot_kimg": 1.5,
}  # fmt: skip
RUNS: dict[int, dict[str, Any]] = {
    32: {**_SHORT, "gamma": 0.5, "kimg": 12.0},
    64: {**_SHORT, "gamma": 2.0, "kimg": 12.0},
}
DTYPES = ("fp32", "bf16", "tiles")
METRICS = MetricOptions(count=500, kept=500)  # generated images, and real ones
PAIRS = 20  # of parts of the real planes, to see what KID is between equal distributions
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
    if not (work / "planes").is_dir():
        cuts = Cuts(
            plane_angles_deg=[-10, -5, 0, 5, 10], plane_spacing_mm=2.0, field_of_view_mm=90.0, side_px=64
        )
        planes = Planes(volumes_uri=volumes, state_uri=state, snapshot_digest=digest, cuts=cuts)
        extract_planes(planes, work / "planes")
    found = PlaneSet.open(work / "planes")
    splits = split_patients(Sides(state_uri=state), found, work / "splits.csv")
    if not classifier.is_whole(work / "classifier"):
        learning = Classifying(
            architecture="resnet18", epochs=2, frozen_epochs=0, size_px=64, label_fraction=1.0
        )
        train_classifier(learning, found, splits, None, work / "classifier")
    return found, splits


def images_of(planes: PlaneSet, members: list[str], size: int) -> Tensor:
    """Return the planes trained on, uint8 N x 1 x size x size."""
    return dataset.load(planes.archive, members=members, resolution=size, channels=1, mirror=False).images


def of_real(images_NCHW: Tensor, detector: PlaneFeatures) -> dict[str, float]:
    """Return KID between parts of the real planes, mean and deviation: what no generator can beat."""
    features_NF = statistics_of(
        torch.split(images_NCHW, METRICS.batch), detector, kept=len(images_NCHW)
    ).features_NF
    size, rng = METRICS.kept, torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(features_NF), generator=rng) for _ in range(PAIRS)]
    pairs = [(features_NF[order[:size]], features_NF[order[size : 2 * size]]) for order in orders]
    values = [kernel_distance(*pair) for pair in pairs]
    return {"mean": statistics.mean(values), "deviation": statistics.stdev(values)}


def untrained(config: TrainingConfig, evaluator: Evaluator) -> float:
    """Return the KID of the generator that a run begins with."""
    state = TrainingState.fresh(derived(config), torch.device("cpu"))
    return evaluator(state.g_ema)["kid"]


def share_features(work: Path) -> None:
    """Give a run the features of the real planes that are in the folder above it: they take a while."""
    work.mkdir(exist_ok=True)
    for path in work.parent.glob("features-*.safetensors"):
        if not (work / path.name).exists():
            (work / path.name).hardlink_to(path)


def curve(
    planes: PlaneSet,
    members: list[str],
    detector: PlaneFeatures,
    work: Path,
    config: TrainingConfig,
    *,
    known: dict[str, Any] | None,
) -> dict[str, Any]:
    """Train one network, or go on with what is known of it; return its KID by kimg, from none on."""
    if known is None:
        images = images_of(planes, members, config.resolution)
        begin = untrained(config, Evaluator(detector, images, options=METRICS, cache=work.parent))
        share_features(work)
        known = {"kid": [(0.0, begin)], "cpu_seconds": 0.0}
    began = time.process_time()
    result = train(
        config, planes.archive, members, work, detector=detector, metric_options=METRICS,
        device="cpu", checkpoint_seconds=120,
    )  # fmt: skip
    seconds = known["cpu_seconds"] + time.process_time() - began
    rows = [known["kid"][0], *((row["kimg"], row["kid"]) for row in result.history if "kid" in row)]
    print(f"{work.name}: KID {rows[-1][1]:.4f} at {rows[-1][0]:g} kimg, {seconds:.0f} s", flush=True)
    return {"resolution": config.resolution, "seed": config.seed, "kid": rows, "cpu_seconds": seconds}


@contextmanager
def convolving(dtype: str) -> Iterator[str]:
    """Give the type that networks compute in; under "tiles", however thin their layers are."""
    if dtype != "tiles":
        yield dtype
        return
    thin = winograd._wide

    def wide(weight_OIKK: Tensor, results: tuple[int, int], stride: int) -> bool:
        return stride == 1 if weight_OIKK.dtype == torch.bfloat16 else thin(weight_OIKK, results, stride)

    with mock.patch.object(winograd, "_wide", wide):
        yield "bf16"


def run_settings(size: int, kimg: float | None) -> dict[str, Any]:
    """Return the settings of a size's runs, of another length than usual where one is given."""
    return {**RUNS[size], **({"kimg": kimg} if kimg else {})}


def curves_of(
    planes: PlaneSet, members: list[str], detector: PlaneFeatures, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Make the runs that nobody has made or is making; return all that are there."""
    found = []
    for seed, size, dtype in itertools.product(options.seeds, options.sizes, options.dtypes):
        work = options.work / f"{size}-{dtype}-{seed}"
        row = work.with_suffix(".json")
        settings = run_settings(size, options.kimg)
        with claimed(work.with_suffix(".lock")) as mine, convolving(dtype) as computed:
            config = TrainingConfig(channels=1, resolution=size, seed=seed, dtype=computed, **settings)
            known = json.loads(row.read_text()) if row.is_file() else None
            if mine and (known is None or known["kid"][-1][0] < config.kimg):
                known = {**curve(planes, members, detector, work, config, known=known), "dtype": dtype}
                write_json(row, known)
        found += [] if known is None else [known]
    return found


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Tell whether no other process holds a lock; its holder's end, however it comes, frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def compared(curves: list[dict[str, Any]], size: int) -> dict[str, Any]:
    """Return the last KID that all runs of a size have, and the interval of its difference (Welch)."""
    same = [c for c in curves if c["resolution"] == size]
    kimg = min((c["kid"][-1][0] for c in same), default=0.0)
    kid = {dtype: [dict(c["kid"])[kimg] for c in same if c["dtype"] == dtype] for dtype in DTYPES}
    result: dict[str, Any] = {"resolution": size, "kimg": kimg, "kid": kid}
    for dtype in DTYPES[1:]:
        if min(len(kid[dtype]), len(kid["fp32"])) >= 2:
            low, high = stats.ttest_ind(kid[dtype], kid["fp32"], equal_var=False).confidence_interval(0.95)
            middle = statistics.mean(kid[dtype]) - statistics.mean(kid["fp32"])
            result[f"{dtype}_minus_fp32"] = {"mean": middle, "low": float(low), "high": float(high)}
    return result


def print_table(curves: list[dict[str, Any]], differences: list[dict[str, Any]]) -> None:
    """Print KID before and after training by resolution and type, over seeds; then the differences."""
    print(
        f"{'px':>4}{'dtype':>7}{'seeds':>7}{'untrained':>11}{'KID':>9}{'least':>9}{'largest':>9}{'s/run':>8}"
    )
    for size, dtype in sorted({(c["resolution"], c["dtype"]) for c in curves}):
        same = [c for c in curves if (c["resolution"], c["dtype"]) == (size, dtype)]
        first, last = ([c["kid"][at][1] for c in same] for at in (0, -1))
        mean, before = statistics.mean(last), statistics.mean(first)
        seconds = statistics.mean(c["cpu_seconds"] for c in same)
        print(f"{size:>4}{dtype:>7}{len(same):>7}{before:>11.4f}{mean:>9.4f}{min(last):>9.4f}{max(last):>9.4f}"
              f"{seconds:>8.0f}")  # fmt: skip
    for row in differences:
        for dtype in DTYPES[1:]:
            difference = row.get(f"{dtype}_minus_fp32", "too few seeds")
            print(f"{row['resolution']} px, {dtype} - fp32: {difference}")


def main() -> None:
    """Train every resolution, type and seed that is asked for; print a table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", required=True, help="folder of NRRD volumes")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made on the way")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all curves")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kimg", type=float, help="length of the runs; shorter ones go on; default: RUNS")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    options = parser.parse_args()
    for dtype in options.dtypes:
        with convolving(dtype) as computed:
            if computed_in(computed, torch.device("cpu")) != TYPES[computed]:
                parser.error(f"dtypes={dtype}: this processor computes it in float32; valid: fp32")
    torch.set_num_threads(1)
    with claimed(options.work / "prepared.lock", wait=True):
        planes, splits = prepared(options.volumes, options.work)
    detector = PlaneFeatures(options.work / "classifier")
    members = [row.image for row in planes.rows_of(splits.patients(TRAIN))]
    curves = curves_of(planes, members, detector, options)
    differences = [compared(curves, size) for size in options.sizes]
    print_table(curves, differences)
    real = {size: of_real(images_of(planes, members, size), detector) for size in options.sizes}
    about = {"detector": detector.name, "digest": detector.digest, "planes": len(members)}
    runs = {size: run_settings(size, options.kimg) for size in options.sizes}
    settings = {"runs": runs, "images": METRICS.count}
    everything = {**about, "settings": settings, "real": real, "differences": differences}
    options.out.write_text(json.dumps({**everything, "curves": curves}, indent=1) + "\n")


if __name__ == "__main__":
    main()
