"""The picture of a study's flow, with its numbers: volumes, planes, what arms learn from, who is tested."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from components.report.flow import Box, draw_flow
from components.report.study_facts import images_kept
from components.report.words import count, percent, plural
from components.shared.splits import SPLITS

_ELBOWS = (("volumes", "planes"), ("planes", "labelled"), ("planes", "hidden"), ("planes", "gans"))
_STRAIGHT = (("labelled", "arms"), ("hidden", "arms"), ("gans", "synthetic"), ("arms", "test"))


def study_flow(metrics: Mapping[str, Any], volumes: int) -> Markup:
    """Draw volumes -> planes -> labelled, hidden and synthetic ones -> arms -> unseen patients."""
    boxes = {**_sources(metrics, volumes), **_uses(metrics)}
    return draw_flow(boxes, _ELBOWS, _STRAIGHT, [("synthetic", "arms")])


def _sources(metrics: Mapping[str, Any], volumes: int) -> dict[str, Box]:
    given, fold = metrics["parameters"], metrics["folds"][0]
    arms = given["arms"]
    patients = sum(len(fold[side]) for side in SPLITS)
    planes = [f"{label} {count(number)}" for label, number in metrics["planes"].items()]
    share = f"{100 * given['label_fractions'][0]:g} % of {given['label_unit']}s"
    made = [source for source in metrics["synthetic"] if "failed" not in source]
    length = f"{count(given['gan_kimg'])} kimg, {given['gan_resolution']} px"
    gans = [plural(len(made), "GAN"), length] if metrics["synthetic"] else ["no arm has any"]
    known = [plural(volumes, "volume"), plural(patients, "patient")]
    return {
        "volumes": Box(column=0, row=1, name="Volumes", lines=known),
        "planes": Box(column=1, row=1, name="Planes", lines=planes),
        "labelled": Box(column=2, row=0, name="Labelled", lines=[share, *["A: all"] * ("A" in arms)]),
        "hidden": Box(
            column=2,
            row=1,
            name="Hidden real planes",
            lines=_hidden(arms),
        ),
        "gans": Box(column=2, row=2, name="GANs", lines=gans),
    }


def _hidden(arms: str) -> list[str]:
    shown = [told for letter, told in (("D", "D: labels guessed"), ("A", "A: with labels")) if letter in arms]
    return shown or ["shown to no arm"]


def _uses(metrics: Mapping[str, Any]) -> dict[str, Box]:
    given, first = metrics["parameters"], metrics["parameters"]["label_fractions"][0]
    repeats = [plural(len(metrics["folds"]), "fold"), plural(given["seeds"], "seed")]
    cells = [plural(len(metrics["cells"]), "cell"), f"{len(metrics['failed'])} failed"]
    shown = [arm for arm in metrics["arms"] if arm["fraction"] in (first, 1.0) and arm["letter"] in "ABCDE"]
    measured = [f"{arm['letter']}  {percent(arm['value'])}" for arm in shown]
    tested = [plural(metrics["patients"], "patient"), "", "balanced accuracy", *measured]
    images = _synthetic(metrics)
    return {
        "arms": Box(column=3, row=0, rows=2, name="Arms", lines=[*repeats, *cells]),
        "synthetic": Box(column=3, row=2, name="Synthetic", lines=images),
        "test": Box(column=4, row=0, rows=2, strong=True, name="Unseen patients", lines=tested),
    }


def _synthetic(metrics: Mapping[str, Any]) -> list[str]:
    """Say how many images there are once copies are dropped, and which arms may learn from them."""
    made = [source["quality"]["copies"] for source in metrics["synthetic"] if "failed" not in source]
    letters = [letter for letter in "EFG" if letter in metrics["parameters"]["arms"]]
    return [plural(sum(map(images_kept, made)), "image"), ", ".join(letters)] if letters else ["none"]
