"""The section of the synthetic images' judgement: how near to real ones, whose copies, who is memorised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report.pictures import png_uri, short
from components.report.words import count, listed, percent, plural
from components.shared.judgement import FOLDER, OWN_FEATURES, SHEET

_FLOORS = {
    "planes": "Real, planes halved at random",
    "patients": "Real, one half of the patients against the other",
}
_PATIENTS = 20  # shown


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of figures, and where they stand in metrics.json."""

    name: str
    group: str  # by_truncation or floor
    key: str
    measured: bool  # False with too few images


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the report shows of a judgement."""

    copied: str
    memorised: str
    alarm: bool
    features: str
    lines: Sequence[Line]
    cautions: Sequence[str]
    patients: Sequence[str]  # those with copies, or most images near them, first
    worst: str  # data URI


def quality_section(judgement: Mapping[str, Any], images: Path) -> Section:
    """Return the section's content from the judgement, and the picture beside the images."""
    return Section(
        copied=copied(judgement),
        memorised=memorised(judgement["memorised"]),
        alarm=bool(judgement["copies"]["dropped"] or judgement["memorised"]["patients"]),
        features=_features(judgement),
        lines=_lines(judgement),
        cautions=judgement["cautions"],
        patients=most_copied(judgement["copies"]["by_patient"]),
        worst=png_uri((images / FOLDER / SHEET).read_bytes()),
    )


def most_copied(theirs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the patients with most copies of their planes, or most images near them, first."""
    order = sorted(theirs, key=lambda name: (-theirs[name]["copies"], -theirs[name]["nearest"], name))
    return order[:_PATIENTS]


def copied_patients(gans: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, for each patient that a study's GANs saw, what all of these made of their planes."""
    theirs: dict[str, list[Mapping[str, Any]]] = {}
    for quality in (gan["quality"] for gan in gans if "quality" in gan):
        for name in quality["copies"]["by_patient"]:
            theirs.setdefault(name, []).append(quality)
    return {name: _over_gans(name, found) for name, found in theirs.items()}


def _over_gans(name: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = [quality["copies"]["by_patient"][name] for quality in found]
    images = sum(quality["copies"]["images"] for quality in found)
    copies = sum(each["copies"] for each in own)
    return {
        "gans": len(found),
        "nearest": sum(each["nearest"] for each in own),
        "copies": copies,
        "rate": copies / images if images else None,
        "memorised": sum(name in quality["memorised"]["patients"] for quality in found),
    }


def copied(judgement: Mapping[str, Any]) -> str:
    """Return how many images are copies, and what became of them, in a sentence."""
    found = judgement["copies"]
    images = plural(found["images"], "synthetic image")
    if not found["count"]:
        return f"None of {images} is a copy of a training plane."
    begin = f"{count(found['count'])} of {images} ({percent(found['rate'])}) copy a training plane"
    if found["dropped"]:
        return f"{begin}, and were dropped before anything learnt from them."
    return f"{begin}; up to {percent(found['max_copy_rate'])} are let pass, so they were kept."


def memorised(found: Mapping[str, Any]) -> str:
    """Return which patients are memorised, in a sentence."""
    if not found["judged"]:
        return f"Whether a whole patient is memorised cannot be judged: {found['reason']}."
    if not found["patients"]:
        return "To no training patient are they as near as two sessions of one patient are to each other."
    names = listed([short(name) for name in found["patients"]])
    return f"They are nearer to {names} than two sessions of one patient are to each other: memorised."


def notes(judgement: Mapping[str, Any]) -> list[str]:
    """Return what the page says beside its verdict: only what is alarming."""
    told = [copied(judgement)] if judgement["copies"]["dropped"] else []
    return told + ([memorised(judgement["memorised"])] if judgement["memorised"]["patients"] else [])


def _features(judgement: Mapping[str, Any]) -> str:
    if not judgement["features"]:
        return "no network was given, so FID and KID were not measured"
    detector = f"{judgement['detector']}, digest {judgement['detector_digest'][:12]}"
    return f"{OWN_FEATURES} ({detector})" if judgement["features"] == OWN_FEATURES else detector


def _lines(judgement: Mapping[str, Any]) -> list[Line]:
    fakes, floor = judgement["by_truncation"], judgement["floor"]
    synthetic = [
        Line(
            name=f"Synthetic, ψ = {float(psi):g}",
            group="by_truncation",
            key=psi,
            measured=fakes[psi]["fid"] is not None,
        )
        for psi in sorted(fakes, key=float)
    ]
    real = [
        Line(name=_FLOORS[how], group="floor", key=how, measured=True)
        for how in sorted(floor, reverse=True)
        if floor[how]["fid"] is not None
    ]
    return synthetic + real
