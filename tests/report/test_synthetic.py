import re

from components.report.page import render
from components.report.synthetic import notes, quality_section
from components.shared.judgement import read_judgement
from tests.report.conftest import write_json, write_judgement

PATIENTS = ["k-0a1b2c", "k-3d4e5f"]


def page(folder):
    judgement = read_judgement(folder)
    section = quality_section(judgement, folder)
    return render("synthetic.html.j2", {"quality": judgement}, quality=section)


def test_figures_stand_beside_their_floor_and_name_their_features(tmp_path):
    write_judgement(tmp_path, PATIENTS)
    html = page(tmp_path)
    assert "None of 80 synthetic images is a copy of a training plane." in html
    assert "the planes classifier of this run (resnet18 on planes, digest efefefefefef)" in html
    rows = re.findall(r"<tr><th>(Synthetic|Real)", html)
    assert rows == ["Synthetic", "Synthetic", "Real"]  # the half of patients was too small to measure
    assert html.count('<img src="data:image/png;base64,') == 1
    assert 'class="alarm"' not in html
    assert notes(read_judgement(tmp_path)) == []


def test_dropped_copies_and_memorised_patients_are_an_alarm(tmp_path):
    write_judgement(tmp_path, PATIENTS, copied=8, named=PATIENTS[:1])
    html = page(tmp_path)
    assert 'class="alarm"' in html
    assert "8 of 80 synthetic images (10.0 %) copy a training plane, and were dropped" in html
    assert "nearer to 0a1b2c than two sessions of one patient are to each other: memorised" in html
    assert len(notes(read_judgement(tmp_path))) == 2


def test_a_memorised_patient_is_an_alarm_though_no_image_is_a_copy(tmp_path):
    write_judgement(tmp_path, PATIENTS, named=PATIENTS[:1])
    assert 'class="alarm"' in page(tmp_path)
    assert len(notes(read_judgement(tmp_path))) == 1


def test_what_cannot_be_judged_and_what_is_let_pass_is_said(tmp_path):
    write_judgement(tmp_path, PATIENTS, copied=1)
    judgement = read_judgement(tmp_path)
    judgement["copies"]["dropped"] = 0
    judgement["memorised"] |= {"judged": False, "reason": "no training patient has two sessions"}
    write_json(tmp_path / "judged/judgement.json", judgement)
    html = page(tmp_path)
    assert "up to 1.0 % are let pass, so they were kept" in html
    assert "cannot be judged: no training patient has two sessions" in html
