"""The rounds of a run on the command line."""

import hashlib
import json
from dataclasses import replace

import pytest

from components.relabel_images.stage import Config, relabel_images
from components.shared.ledger import Ledger
from pipelines.__main__ import main
from pipelines.rounds import told


@pytest.fixture
def state(tmp_path):
    """Return the state of a run with two rounds, the second of which was the last."""
    rule = {"max_rounds": 1, "patience": 1, "min_gain": 0.0, "relabel": "all", "validation_patients": 4}
    ledger = Ledger(state_uri=str(tmp_path / "state"), run="mine")
    ledger.begin({"rule": rule})
    for number, loss in enumerate([0.5, 0.25]):
        folder = tmp_path / f"made{number}"
        folder.mkdir()
        (folder / "classifier.safetensors").write_text(f"weights {number}")
        about = {
            "labelled": 20,
            "pseudo": {"coronal": 2 * number},
            "validation": {"mean_patient_loss": loss, "balanced_accuracy": 0.9 + number / 20},
            "digest": hashlib.sha256(f"weights {number}".encode()).hexdigest(),
        }
        (folder / "classifier.json").write_text(json.dumps(about))
        ledger.keep_classifier(number, folder)
        predictions = ["image,label,confidence", "a.png,coronal,0.9", "b.png,sagittal,0.8", "c.png,noise,0.7"]
        (folder / "predictions.csv").write_text("\n".join(predictions) + "\n")
        relabel_images(
            Config(round=number, confidence_threshold=0.75, relabel="all"), ledger, folder, about, "o"
        )
    return str(tmp_path / "state")


def test_the_table_has_a_line_a_round_and_marks_the_best(state, capsys):
    assert main(["rounds", "--state-uri", state, "--run", "mine"]) == 0
    header, *rounds, legend = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert header.startswith("round labelled pseudo val. loss val. balanced judged")
    assert rounds[0] == "0 20 0 0.500 90.0 % 3 1 1 0 0 1 - 0 0"
    assert rounds[1] == "*1 20 2 0.250 95.0 % 3 0 0 0 0 1 0.0 % 0 0 max_rounds"
    assert legend.startswith(
        "* published: of rounds from 1 on that with the lowest loss on validation patients; the"
    )


def test_the_legend_says_by_what_a_round_was_chosen(state):
    ledger = Ledger(state_uri=state, run="mine")
    rounds, few = ledger.rounds(), replace(ledger.rule(), validation_patients=2)
    assert "\n* published: the last one, as 2 validation patients are too few to choose by; " in told(
        rounds, few
    )
    assert told(rounds[:1], few).endswith(
        "\n* the best so far: the last one, as 2 validation patients are too few to choose by"
    )
    assert told([], few) == "no round is sealed yet"


def test_a_round_is_copied_out_by_its_number(state, tmp_path, capsys):
    assert (
        main(["rounds", "--state-uri", state, "--run", "mine", "--round", "1", "--to", str(tmp_path / "out")])
        == 0
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"classifier.safetensors", "classifier.json", "labels.csv", "round.json"}
    assert (tmp_path / "out/classifier.safetensors").read_text() == "weights 1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "yours"], "error: --run yours: no ledger at"),
        (["--run", "mine", "--round", "0"], "error: --round and --to: one without the other"),
        (["--run", "mine", "--round", "2", "--to", "new"], "error: round 2: not sealed in"),
    ],
)
def test_mistakes_are_one_line(state, words, said, capsys):
    assert main(["rounds", "--state-uri", state, *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count("\n") == 1


def test_a_study_says_where_its_cells_are(state, capsys):
    Ledger(state_uri=state, run="asked").begin({"parameters": {}})
    assert main(["rounds", "--state-uri", state, "--run", "asked"]) == 1
    assert "--run asked: a study; valid: --state-uri" in capsys.readouterr().err
