import dataclasses
import re

import numpy as np
import pytest

from components.report.language import SPANISH, Catalogue, catalogue_of
from components.report.page import environment
from components.report.volumes import COLUMNS, MAX_CARDS, summary, volumes_page
from components.shared.passports import ACCEPT, REFUSE, SUSPECT, Passport
from components.shared.suspicions import Measured

MEASURED = Measured(
    sizes=(196, 173, 167),
    spacing_mm=(0.55, 0.55, 0.55),
    axes="PSR",
    oblique_deg=4.2,
    handedness="right",
    affine=tuple(map(tuple, np.eye(4).tolist())),
    orientation="header",
    origin_distance_mm=84.8,
    centre_voxels=(98.0, 86.0, 83.0),
    radius_mm=43.4,
    grey_window=(1.0, 155.0),
    tissue=40.0,
    replaced=3,
    notes=("3 voxels were no numbers within ±1e+15 and took the minimum",),
    mirror=(0.99, 0.55, 0.52),
    tilt_deg=(7.0, 12.0, 3.0),
    left_right="R",
    header_agrees=True,
    planes=666,
    profile={
        name: tuple((2.0 * k, round(0.9 - abs(k) / 40, 2)) for k in range(-18, 19))
        for name in ("coronal", "sagittal")
    },
)
PICTURE = "iVBORw0KGgo" + "A" * 18000  # as long as a busy thumbnail


def a_passport(number, verdict=ACCEPT, reason=""):
    return Passport(
        volume=f"{number:016x}",
        patient=f"patient{number:03}",
        session="",
        site="",
        verdict=verdict,
        reason=reason,
        measured=None if verdict == REFUSE else MEASURED,
        thumbnail="" if verdict == REFUSE else PICTURE,
    )


def render(passports):
    return environment().get_template("volumes.html.j2").render(volumes=volumes_page(passports))


def test_what_needs_a_look_comes_first():
    html = render(
        [
            a_passport(1),
            a_passport(2, SUSPECT, "the axis signs in the header look wrong"),
            a_passport(3),
            a_passport(4, REFUSE, "data: 3 bytes; valid: 60 bytes"),
        ]
    )
    assert re.findall(r'class="passport (\w+)"', html) == [REFUSE, SUSPECT, ACCEPT, ACCEPT]
    assert re.findall(r"patient\d+", html) == ["patient004", "patient002", "patient001", "patient003"]
    assert "Of 4 volumes, 2 are accepted, 1 is suspect and 1 is refused." in html
    assert "The axis signs in the header look wrong." in html


def test_volumes_of_one_verdict_keep_the_order_of_their_files_not_of_their_pseudonyms():
    verdicts = [ACCEPT, SUSPECT, ACCEPT, REFUSE, SUSPECT, REFUSE]
    given = [a_passport(9 - number, verdict) for number, verdict in enumerate(verdicts)]
    shown = [card.patient for card in volumes_page(given).cards]
    assert shown == [f"patient{number:03}" for number in (6, 4, 8, 5, 9, 7)]


def test_a_card_says_geometry_symmetry_and_content():
    (card,) = volumes_page([a_passport(1)]).cards
    said = " ".join(card.facts)
    assert "196 × 173 × 167 voxels of 0.55 mm (108 × 95 × 92 mm)" in said
    assert "posterior, superior and right (PSR, tilted 4°)" in said
    assert "within 43 mm" in said
    assert "666 planes" in said
    assert "90 % tissue" in said
    assert "the head tilted 7°" in said
    assert "3 voxels were no numbers within ±1e+15 and took the minimum." in said
    assert str(card.profile).count("<path") == 2


@pytest.mark.parametrize(
    ("left_right", "agrees", "words"),
    [("A", False, "along the header's front-back axis"), ("", None, "so the header's could not be checked")],
)
def test_symmetry_is_said_in_words(left_right, agrees, words):
    measured = dataclasses.replace(MEASURED, left_right=left_right, header_agrees=agrees)
    (card,) = volumes_page([dataclasses.replace(a_passport(1), measured=measured)]).cards
    assert words in " ".join(card.facts)


def test_that_left_and_right_could_not_be_checked_is_said_in_spanish_too():
    measured = dataclasses.replace(MEASURED, left_right="", header_agrees=None)
    (card,) = volumes_page([dataclasses.replace(a_passport(1), measured=measured)]).cards
    (note,) = [fact for fact in card.facts if "left-right" in fact]
    told = Catalogue(catalogue_of(SPANISH)).translate(note)
    assert "eje izquierda-derecha (0.99 en el mejor caso)" in told


@pytest.mark.parametrize("suspect", [0, 7, 299])
def test_three_hundred_volumes_stay_light_and_are_all_there(suspect):
    passports = [a_passport(n, SUSPECT if n < suspect else ACCEPT, "odd" * (n < suspect)) for n in range(300)]
    html = render(passports)
    assert len(set(re.findall(r"patient\d+", html))) == 300
    assert html.count("<article") == min(suspect, MAX_CARDS)
    assert len(html) < 2_000_000


def test_at_the_limit_every_volume_has_its_card():
    assert len(volumes_page([a_passport(n) for n in range(MAX_CARDS)]).cards) == MAX_CARDS
    over = volumes_page([a_passport(n) for n in range(MAX_CARDS + 1)])
    assert not over.cards
    assert all(len(row) == len(COLUMNS) for row in over.rows)


def test_every_row_has_a_cell_for_each_column():
    passports = [a_passport(n) for n in range(80)] + [a_passport(80 + n, REFUSE, "broken") for n in range(70)]
    page = volumes_page(passports)
    assert len(page.cards) == MAX_CARDS
    assert {len(row) for row in page.rows} == {len(COLUMNS)}


def test_text_of_a_passport_is_escaped():
    hostile = "<script>alert(1)</script>"
    passport = dataclasses.replace(a_passport(1, SUSPECT, hostile), patient=hostile, also=(hostile,))
    assert "<script" not in render([passport, a_passport(2)])


def test_the_summary_reads_well():
    assert summary([a_passport(1)]) == "1 volume, accepted."
    assert summary([a_passport(1), a_passport(2)]) == "2 volumes, all accepted."
    refused = a_passport(3, REFUSE, "broken")
    assert summary([a_passport(1), refused]) == "Of 2 volumes, 1 is accepted and 1 is refused."


def test_a_volume_without_planes_has_a_card():
    empty = dataclasses.replace(MEASURED, planes=0, profile={"coronal": (), "sagittal": ()})
    passport = dataclasses.replace(a_passport(1, SUSPECT, "nothing"), measured=empty)
    assert "0 planes" in render([passport])
