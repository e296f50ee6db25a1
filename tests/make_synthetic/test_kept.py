"""What a study's arms are shown is what was judged and kept, and not all that the GAN drew."""

import pytest

from components.generate_images.stage import Config as GenerateConfig
from components.judge_synthetic.stage import Config as JudgeConfig
from components.make_synthetic.stage import Config, fetch_synthetic, make_synthetic
from components.shared.judgement import read_judgement
from components.shared.splits import TRAIN
from components.shared.study import Source
from components.train_gan.stage import Config as GanConfig
from tests.drawn_planes import SPLITS, write_planes

GAN = GanConfig(kimg=0.008, resolution=8, gamma=0.0, batch=4, channel_base=64, snapshot_kimg=0.008)


@pytest.mark.parametrize(("planes_of", "patients"), [("all", 3), ("labelled", 1)])
def test_the_kept_images_are_there_with_their_judgement(tmp_path, planes_of, patients):
    planes = write_planes(tmp_path / "planes", sorted(SPLITS.sides), per_class=6)
    config = Config(
        study_uri=str(tmp_path / "state/study"),
        gan=GanConfig(**vars(GAN) | {"state_uri": str(tmp_path / "state"), "label_unit": "patient"}),
        generation=GenerateConfig(truncations=(1.0,), images=6),
        judging=JudgeConfig(max_copy_rate=1.0),
        label_fraction=0.3,
    )
    source = Source(fold=0, planes=planes_of, gan=0)
    made = make_synthetic(config, source, planes, SPLITS)
    images = fetch_synthetic(config.study_uri, source, tmp_path / "fetched")
    assert read_judgement(images.folder)["copies"]["images"] == 6
    assert made["digest"] == images.digest
    assert set(made["patients"]) == images.seen.patients <= set(SPLITS.patients(TRAIN))
    assert len(made["patients"]) == patients
