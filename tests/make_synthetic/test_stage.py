"""Which GAN a source of a study's images is: its patients, its labels, its seed."""

import pytest

from components.make_synthetic import stage
from components.make_synthetic.stage import Config, make_synthetic
from components.shared import storage
from components.shared.lease import lease, release
from components.shared.splits import TEST, TRAIN
from components.shared.study import Source
from components.validate_parameters.stage import results
from components.validate_parameters.study import StudyParameters
from tests.drawn_planes import SPLITS, write_planes


class AskedError(Exception):
    """What a GAN was to be trained on."""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Return a function that tells the settings and the sides that a source's GAN is trained with."""
    planes = write_planes(tmp_path / "planes", sorted(SPLITS.sides))
    state = str(tmp_path / "state")
    given = results(StudyParameters(volumes_uri="", state_uri=state, seed=7, label_fractions=[0.2, 0.5]))
    config = Config.of(state, f"{state}/study", given | {"gan_checkpoint_kimg": 0.0})

    def train(settings, planes, splits, *_):
        raise AskedError(settings, splits)

    monkeypatch.setattr(stage, "train_gan", train)

    def ask(source):
        with pytest.raises(AskedError) as told:
            make_synthetic(config, source, planes, SPLITS)
        return told.value.args

    return ask


@pytest.mark.parametrize(("planes", "fraction"), [("all", 1.0), ("labelled", 0.2)])
@pytest.mark.parametrize("fold", [0, 1, 4])
@pytest.mark.parametrize("gan", [0, 1, 2])
def test_each_source_is_a_gan_of_its_own(asked, planes, fraction, fold, gan):
    settings, splits = asked(Source(fold=fold, planes=planes, gan=gan))
    assert settings.label_fraction == fraction
    assert settings.seed == 7 + gan and settings.label_seed == 7
    assert splits == SPLITS.testing(fold)
    assert not set(splits.patients(TRAIN)) & set(splits.patients(TEST))


def test_a_pod_tried_again_waits_until_its_predecessor_is_done(asked, tmp_path, monkeypatch):
    """One that was given up may work on; both would write the same images' places."""
    source = Source(fold=0, planes="all", gan=0)
    place = storage.join(source.uri(str(tmp_path / "state/study")), "making")
    naps = []

    def nap(_):
        naps.append(1)
        if len(naps) == 2:
            release(place, "the first pod")

    with lease(place, "the first pod"):
        pass
    monkeypatch.setattr("time.sleep", nap)
    asked(source)
    assert len(naps) == 2
