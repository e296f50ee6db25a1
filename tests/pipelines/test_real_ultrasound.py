"""The laptop profile, shortened, on ultrasound-like volumes of twelve patients; skipped where absent."""

from tests.pipelines.real_volumes import DATA, REAL, study

pytestmark = REAL


def test_simulated_ultrasound_of_twelve_patients(tmp_path):
    found = study(tmp_path, DATA / "ultrasound_like", gan_kimg=1, images=400, max_rounds=1)
    assert sum(len(found["patients"][side]) for side in ("train", "validation", "test")) == 12
    assert found["models"]["supervised"]["balanced_accuracy"] >= 0.85
    page = (tmp_path / "report/report.html").read_text()
    assert f"n = {found['test_patients']} patients: no claim possible" in page
