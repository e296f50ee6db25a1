"""What a snapshot is judged by: its images against the real ones', in one process and in several."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stylegan2_ada import CollapseError, derived, load_generator, train
from stylegan2_ada.dataset import Dataset, load
from stylegan2_ada.distributed import Ranks
from stylegan2_ada.evaluate_network import Evaluator
from stylegan2_ada.generate import latents, to_uint8
from stylegan2_ada.run import Run
from stylegan2_ada.sampler import Sampler
from stylegan2_ada.snapshots import Watch
from stylegan2_ada.training_loop import _judge, _pick, sample
from stylegan2_ada.training_state import TrainingState
from torch import Tensor

from tests.stylegan2_ada.archives import labels_file, squares, write_zip
from tests.stylegan2_ada.test_training_loop import FEW, TINY, Brightness, judged

CPU = torch.device("cpu")
TWO_GROUPS = derived(replace(TINY, batch=8))  # so that two processes can share it


def pixels(seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (60, 1, 8, 8), generator=rng, dtype=torch.uint8)


def run_of(folder: Path, reals: Tensor, *, rank: int = 0, count: int = 1, scored: bool = False) -> Run:
    """Return a run at its start, as one of so many processes."""
    ranks = Ranks(rank=rank, count=count)
    return Run(
        folder=folder, digest="a" * 64, state=TrainingState.fresh(TWO_GROUPS, CPU, ranks=ranks),
        images=Dataset(images=reals, digest="", mirror=False), device=CPU, sampler=Sampler(60, 0),
        evaluate=Evaluator(Brightness(), reals, options=FEW) if scored else None,
    )  # fmt: skip


@pytest.mark.parametrize("contrast", [1, 8])
def test_generated_images_are_said_to_differ_in_units_of_the_real_ones(tmp_path: Path, contrast: int) -> None:
    """Faint images are no collapse where the real ones are as faint."""
    run = run_of(tmp_path, 100 + pixels(0) // contrast)
    assert _judge(run, 100 + pixels(1) // contrast)["deviation"] == pytest.approx(1, rel=0.05)
    assert _judge(run, 100 + pixels(1) // (4 * contrast))["deviation"] == pytest.approx(1 / 4, rel=0.05)


def test_a_snapshot_shows_the_running_mean_by_labels_spread_over_the_data() -> None:
    state = TrainingState.fresh(TWO_GROUPS, CPU, labels=torch.eye(2).repeat_interleave(5, dim=0))
    with torch.no_grad():
        for parameter in state.g.parameters():
            parameter.zero_()
        state.g_ema.synthesis.b4.conv1.noise_strength.fill_(1.0)
        halves = torch.eye(2).repeat_interleave(32, dim=0)
        expected = to_uint8(state.g_ema(latents(range(64)), halves, noise="const"))
    assert sample(state).int().sub(expected.int()).abs().max() <= 1  # of another batch: a rounding may differ
    assert expected.float().std(dim=0).mean() > 3


def test_real_images_of_a_snapshot_are_spread_over_the_data() -> None:
    numbered = torch.arange(190, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    chosen = _pick(Dataset(images=numbered, digest="", mirror=False))[:, 0, 0, 0]
    assert chosen.tolist() == list(range(0, 190, 3))


def test_snapshots_of_a_collapse_count_in_a_row_alone() -> None:
    watch = Watch()
    for ratio in (0.01, 0.01, 0.5, 0.01, 0.01):
        watch.compare(ratio, 0.02, 0.0)
    with pytest.raises(CollapseError):
        watch.compare(0.01, 0.02, 0.0)


def test_processes_beside_the_first_hear_its_scores_and_count_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one would stop, out of patience, while another waits for it; the first alone writes."""
    told = [torch.tensor(numbers) for numbers in ([1.0, 0.5, 3.0], [1.0, 0.75, 2.0], [1.0, 0.25, 4.0])]
    run = run_of(tmp_path, pixels(0), rank=1, count=2, scored=True)
    monkeypatch.setattr(Ranks, "add_up", lambda self, tensors: tensors[0].add_(told[run.watch.stale]))
    assert _judge(run, None) == {"deviation": 1.0, "kid": 0.5, "fid": 3.0}
    assert (run.watch.best_kid, run.watch.stale) == (0.5, 0)
    told[0] = told[1]
    assert _judge(run, None)["kid"] == 0.75 and (run.watch.best_kid, run.watch.stale) == (0.5, 1)
    told[1] = told[2]
    assert _judge(run, None)["kid"] == 0.25 and (run.watch.best_kid, run.watch.stale) == (0.25, 0)
    assert not list(tmp_path.iterdir())


def test_snapshots_without_differing_images_are_counted_on_under_another_detector(tmp_path: Path) -> None:
    for number in (1, 2):
        judged(tmp_path, "run", 0.012 * number, white=float(number), collapse_ratio=100.0)
    with pytest.raises(CollapseError, match=r"after 0\.036 kimg, the 3rd"):
        judged(tmp_path, "run", 0.036, white=3.0, collapse_ratio=100.0)


def test_snapshots_of_a_conditional_run_are_judged_by_the_labels_of_its_data(tmp_path: Path) -> None:
    files = squares()
    labels = labels_file([[name, number % 3] for number, name in enumerate(files)])
    archive = write_zip(tmp_path / "a.zip", files | labels)
    config = replace(TINY, kimg=0.012, cond=True)
    result = train(config, archive, None, tmp_path / "run", detector=Brightness(), metric_options=FEW)
    images = load(archive, resolution=8, channels=1, mirror=False, use_labels=True)
    judge = Evaluator(Brightness(), images.images, options=FEW, labels_NK=images.labels)
    best, info = load_generator(tmp_path / "run" / "best", "cpu")
    assert info["kid"] == result.history[-1]["kid"] == pytest.approx(judge(best)["kid"], abs=1e-6)
