"""From the command line's words to typed parameters, and mistakes to one line and status 1."""

import subprocess
import sys
from dataclasses import replace

import pytest

from components.shared.faults import InputError
from components.validate_parameters.stage import Parameters
from pipelines.__main__ import main
from pipelines.catalogue import PIPELINES
from pipelines.submission import parse, with_absolute_paths


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("label_fraction=0.5", 0.5),
        ("epochs=3", 3),
        ("gan_mirror=False", False),
        ("truncations=0.5,1.0", [0.5, 1.0]),
        ("truncations=[0.7]", [0.7]),
        ('gpu_node_selector={"a": "b"}', {"a": "b"}),
        ("gpu_tolerations=[]", []),
        ("gpu_count=2", "2"),
        ("patient_pattern=^(?P<patient>a=b)", "^(?P<patient>a=b)"),
    ],
)
def test_values_are_parsed_by_their_declared_type(text, value):
    assert list(parse([text], Parameters).values()) == [value]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label_fraction=half", "label_fraction=half: not usable; valid: a number"),
        ("epochs=2.5", "epochs=2.5: not usable; valid: a whole number"),
        ("gan_mirror=yes", "gan_mirror=yes: not usable; valid: true or false"),
        ("truncations=", "truncations=: not usable; valid: numbers such as 0.5,1.0"),
        ("gpu_node_selector=[1]", r"gpu_node_selector=\[1\]: not usable; valid: a JSON object"),
        ("label_fracton=0.2", "-p label_fracton: unknown parameter; valid: label_fraction"),
        ("truncations=[true]", r"truncations=\[true\]: not usable; valid: numbers such as 0.5,1.0"),
        ("epochs", "-p epochs: no value; valid: -p name=value"),
    ],
)
def test_a_mistake_names_the_parameter_and_what_would_be_valid(text, words):
    with pytest.raises(InputError, match=f"^{words}"):
        parse([text], Parameters)


def test_no_graph_is_built_before_one_is_compiled_or_run():
    code = "import sys, pipelines.__main__; print([m for m in sys.modules if m.startswith('pipelines.')])"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "pipelines.catalogue" in told
    for module in ("planes", "application", "augmentation", "study", "when_new"):
        assert f"'pipelines.{module}'" not in told


def test_local_paths_become_absolute_and_buckets_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = with_absolute_paths(
        {"volumes_uri": "a/sb_*.nrrd", "state_uri": "gs://b/c", "pretrained_uri": ""}
    )
    assert values == {"volumes_uri": f"{tmp_path}/a/sb_*.nrrd", "state_uri": "gs://b/c", "pretrained_uri": ""}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "volumes_uri=EMPTY", "-p", "label_fraction=0"], "label_fraction=0.0"),
        (["-p", "volumes_uri=EMPTY", "-p", "label_fraction=1.5"], "label_fraction=1.5"),
        (["-p", "volumes_uri=EMPTY", "-p", "confidence_threshold=2"], "confidence_threshold=2.0"),
        (["-p", "colour=red"], "-p colour: unknown parameter"),
        (["-p", "label_fraction=0.2", "-p", "label_fraction=0.5"], "-p label_fraction: twice; valid: once"),
        (["-p", "volumes_uri=EMPTY"], "volumes_uri="),
        (["-p", "volumes_uri=TEXT"], "words.nrrd: first bytes"),
        (["-p", "volumes_uri=/no/such/folder"], "volumes_uri=/no/such/folder"),
        (["-p", "volumes_uri=ftp://a/b"], "volumes_uri=ftp://a/b"),
        ([], "volumes_uri=: not usable"),
    ],
)
def test_a_mistake_costs_one_line_and_no_traceback(arguments, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/words.nrrd").write_text("not a volume\n")
    places = {"volumes_uri=EMPTY": tmp_path / "empty", "volumes_uri=TEXT": tmp_path / "text"}
    words_given = [f"volumes_uri={places[a]}" if a in places else a for a in arguments]
    status = main(
        ["run", "augmentation", "--root", str(tmp_path / "root"), "--profile", "laptop", *words_given]
    )
    said = capsys.readouterr().err
    assert status == 1
    assert said.startswith("error: ")
    assert words in said
    assert "valid: " in said
    assert said.count("\n") == 1
    assert not (tmp_path / "root").exists()


COMMANDS = {
    "compile": ["compile", "--to"],
    "simulate": ["simulate", "--patients", "1"],
    "run": ["run", "augmentation", "--profile", "laptop", "-p", "state_uri=gs://b/s", "--root"],
}


def only_the_folder_counts(monkeypatch):
    """Let every value pass: what follows is about the folder."""
    for name, chosen in PIPELINES.items():
        monkeypatch.setitem(PIPELINES, name, replace(chosen, validate=lambda _: []))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["/proc/foo", "{file}", "{file}/below"])
def test_a_folder_that_cannot_be_written_costs_one_line(command, place, tmp_path, capsys, monkeypatch):
    only_the_folder_counts(monkeypatch)
    (tmp_path / "file").write_text("precious")
    assert main([*COMMANDS[command], place.format(file=tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {'--root ' * (command == 'run' and place == '{file}')}/")
    assert "; valid: a " in said
    assert said.count("\n") == 1
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(("command", "file"), [("compile", "apply.yaml"), ("run", "arguments.json")])
def test_a_full_disk_costs_one_line_that_names_the_file(command, file, tmp_path, capsys, monkeypatch):
    only_the_folder_counts(monkeypatch)
    (tmp_path / f"{file}.part").symlink_to("/dev/full")
    assert main([*COMMANDS[command], str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / file}: No space left on device; valid: a place that")
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_without_a_name_is_refused(command, capsys):
    with pytest.raises(SystemExit):
        main([*COMMANDS[command], ""])
    assert "empty; valid: the name of a folder, '.' for this one" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["{root}/report/doubtful.csv", "file://{root}/report/filled/d.csv"])
def test_an_experts_file_in_the_report_that_is_replaced_is_refused(place, tmp_path, capsys):
    given = place.format(root=tmp_path.resolve())
    arguments = ["-p", f"volumes_uri={tmp_path}", "-p", f"expert_labels_uri={given}"]
    assert main(["run", "augmentation", "--root", str(tmp_path), *arguments]) == 1
    assert f"expert_labels_uri={given}: this run's report will take its place" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pretrained_uri", "inception_uri"])
def test_weights_of_an_image_are_refused_on_a_laptop(name, tmp_path, capsys):
    arguments = ["-p", f"volumes_uri={tmp_path}", "-p", f"{name}=/opt/pretrained/nothing.pt"]
    assert main(["run", "augmentation", "--root", str(tmp_path / "root"), *arguments]) == 1
    assert f"{name}=/opt/pretrained/nothing.pt: not on this machine" in capsys.readouterr().err
