"""An expert's labels come back as they were written, or one line says which cannot be used."""

import pytest

from components.shared.expert_labels import (
    DIGITS,
    ExpertRow,
    by_image,
    parse,
    require_images,
    require_kept,
    write,
)
from components.shared.faults import InputError
from tests.drawn_planes import GENERATOR, write_synthetic

HEAD = "number,image,generator,predicted,confidence,label\n"


def row(number, label="", generator=GENERATOR[:DIGITS]):
    image = f"synthetic/psi1.00_seed{number - 1:06}.png"
    return ExpertRow(
        number=number, image=image, generator=generator, predicted="coronal", confidence="0.5", label=label
    )


def test_what_was_filled_in_comes_back_and_the_rest_does_not():
    text = write([row(1, "coronal"), row(2), row(3, " Sagittal "), row(4, "none")])
    found = by_image(parse("\ufeff" + text, "doubtful.csv"))
    assert list(found.values()) == ["coronal", "sagittal", "none"]


def test_a_spreadsheets_semicolons_are_read_and_noise_is_none():
    text = "\ufeff" + write([row(1, "coronal"), row(2, "noise")]).replace(",", ";")
    assert list(by_image(parse(text, "doubtful.csv")).values()) == ["coronal", "none"]


def test_a_generator_that_the_state_does_not_keep_is_refused():
    require_kept([row(1, "coronal", "5d5d5d5d5d5d")], ["5d" * 32], "e.csv")
    with pytest.raises(
        InputError, match=r"^e\.csv: .*generator 6e6e6e6e6e6e, which no run of this pipeline on state_uri"
    ):
        require_kept([row(1, "coronal", "6e6e6e6e6e6e")], ["5d" * 32], "e.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "columns none"),
        ("image,label\na,coronal\n", "columns image, label"),
        (HEAD + "1,a,g,coronal,0.5,axial\n", "line 2: label axial"),
        (HEAD + "1,a,g,coronal,0.5,\n", "no row has a label"),
        (HEAD + "1,a,g,coronal,0.5,coronal\n2,a,g,coronal,0.5,sagittal\n", "line 3: a has two labels"),
    ],
)
def test_what_cannot_be_used_is_named(text, told):
    with pytest.raises(InputError, match=told):
        parse(text, "doubtful.csv")


def test_images_of_another_generator_are_refused_though_their_names_are_the_same(tmp_path):
    images = write_synthetic(tmp_path, ["a"], ["coronal", "sagittal"])
    require_images([row(1, "coronal"), row(2, "none")], images)
    with pytest.raises(InputError, match="of generator abc is none of this run's images"):
        require_images([row(1, "coronal", "abc")], images)
    with pytest.raises(InputError, match="seed000002"):
        require_images([row(3, "coronal")], images)
