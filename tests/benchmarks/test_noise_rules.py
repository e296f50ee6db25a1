from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks import noise_rules
from benchmarks.extraction import anatomy_of
from components.shared.geometry import Plane
from components.shared.planes import CORONAL, NOISE, SAGITTAL, UNCERTAIN
from components.shared.volumes import Volume

CENTRE, RADIUS = np.array([40.0, 50.0, 45.0]), 12.0
SIZES = (81, 101, 91)


@pytest.fixture(scope="module")
def ball() -> Volume:
    inside = np.linalg.norm(np.indices(SIZES).T - CENTRE, axis=-1).T < RADIUS
    return Volume(data_XYZ=np.where(inside, 1000, 0).astype(np.float32), affine=np.eye(4))


def test_the_true_share_of_a_ball_is_that_of_its_disc(ball: Volume) -> None:
    anatomy = anatomy_of(ball)
    brain_XYZ = ball.data_XYZ > 0
    for name in (CORONAL, SAGITTAL):
        for angle, offset in [(0.0, 0.0), (15.0, 6.0), (-20.0, -9.0), (0.0, 20.0)]:
            plane = Plane(name=name, angle_deg=angle, offset_mm=offset)
            expected = max(RADIUS**2 - offset**2, 0) / (anatomy.radius_mm**2 - offset**2)
            assert noise_rules.true_share(anatomy, plane, brain_XYZ) == pytest.approx(expected, abs=0.02)


def test_what_the_notebook_calls_a_slice_goes_by_its_place_alone(ball: Volume) -> None:
    anatomy = anatomy_of(ball)

    def call(name: str, angle: float, offset: float) -> str:
        plane = Plane(name=name, angle_deg=angle, offset_mm=offset)
        return noise_rules.notebook_call(anatomy, plane, SIZES)

    assert call(SAGITTAL, 0, 0) == SAGITTAL
    assert [call(SAGITTAL, 0, offset) for offset in (-21, -19, 19, 21)] == [NOISE, SAGITTAL, SAGITTAL, NOISE]
    assert [call(CORONAL, 0, offset) for offset in (-31, -29, 29, 31)] == [NOISE, CORONAL, CORONAL, NOISE]
    # Turned by 20 degrees the stack of 81 slices is 111 high: slice 55 is in the middle, 81 is never written.
    assert [call(SAGITTAL, 20, offset) for offset in (4, 8, 24, 28)] == [
        SAGITTAL,
        NOISE,
        NOISE,
        noise_rules.LOST,
    ]


@pytest.mark.parametrize(
    ("truth", "call", "wrong"),
    [
        (0.01, CORONAL, True),
        (0.01, NOISE, False),
        (0.01, UNCERTAIN, False),
        (0.3, NOISE, True),
        (0.3, UNCERTAIN, False),
        (0.3, CORONAL, False),
        (0.3, noise_rules.LOST, False),
    ],
)
def test_wrong_is_anatomy_that_is_empty_or_noise_that_is_not(truth: float, call: str, wrong: bool) -> None:
    assert noise_rules.Judged(truth=truth, calls={"content": call}).wrong("content") == wrong


def test_planes_are_counted_once_each_and_drawn(ball: Volume, tmp_path: Path) -> None:
    brain_XYZ = ball.data_XYZ > 0
    with ThreadPoolExecutor(2) as pool:
        planes = list(noise_rules.judged(ball, brain_XYZ, pool))
        noisy = list(noise_rules.judged(noise_rules.speckled(ball, brain_XYZ, 0), brain_XYZ, pool))
    found = {"planes": {"as they are": noise_rules.tally(planes), "with speckle": noise_rules.tally(noisy)}}
    counts = found["planes"]["as they are"]
    assert sum(counts["all"]) == len(planes) > 500
    assert counts["all"][0] > 0
    assert counts["all"][2] > 0
    assert sum(counts["rules"]["content"]["wrong"]) < sum(counts["rules"]["index"]["wrong"])
    noise_rules.draw(found, tmp_path / "one.svg")
    noise_rules.draw(found, tmp_path / "two.svg")
    drawn = (tmp_path / "one.svg").read_text()
    assert f"{len(planes)} planes as they are" in drawn
    assert (tmp_path / "two.svg").read_text() == drawn
    assert len(list(noise_rules.table(found))) == 2 + 2 * 4
