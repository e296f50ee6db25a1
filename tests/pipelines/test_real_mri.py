"""The laptop profile, shortened, on fetal MRI templates; skipped where they are absent.

Apart from the other volumes', so that two processes may share the work.
"""

from tests.pipelines.real_volumes import DATA, REAL, study

pytestmark = REAL


def test_fetal_mri_templates(tmp_path):
    found = study(tmp_path, DATA / "mri/sb_*.nrrd", gan_kimg=0.5, images=400, epochs=2, max_rounds=1)
    assert sum(len(found["patients"][side]) for side in ("train", "validation", "test")) == 15
    assert found["planes"]["noise"]["train"] > 0
    assert 1 <= len(found["rounds"]) <= 2
    assert found["rounds"][-1]["stop_reason"]
