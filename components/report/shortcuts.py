"""The section of the shortcut audit: whether a class could be told where there is no anatomy to see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report.pictures import png_uri
from components.report.summary import read_json
from components.report.words import ABSENT, percent, plural
from components.shared.audit import FINDINGS

_KINDS = {
    "constant": "one grey everywhere: shows outlines",
    "speckle": "speckle alone: shows sharpness and the scanner's grid",
    "ramp": "an even slope of grey: shows how grey levels are set",
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one judge made of one kind of picture."""

    judge: str
    of: str
    accuracy: str
    interval: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the report shows of an audit."""

    sentence: str
    alarm: bool
    audited: bool
    looks: Sequence[Look]  # on blanks; these gate
    beside: Sequence[Look]  # on the real planes; these do not
    noise_by_disc: str  # how often it is smaller, or darker, than anatomy
    noise_by_grey: str
    pictures: Sequence[tuple[str, str]]  # caption and data URI of what gave a class away

    @property
    def warning(self) -> str:
        """What whoever reads the answer alone must know of the audit, "" where it found nothing."""
        return self.sentence if self.alarm or not self.audited else ""


def shortcuts_section(folder: Path) -> Section:
    """Return the section's content from what audit_shortcuts wrote."""
    found = read_json(folder / FINDINGS)
    cases, real = found["cases"], found.get("real", {})
    return Section(
        sentence=_sentence(found),
        alarm=any(case["leak"] for case in cases),
        audited=bool(cases),
        looks=[_look(case, _KINDS[case["kind"]], _verdict(case)) for case in cases],
        beside=[_look(case, case["what"], "") for case in real.get("cases", [])],
        noise_by_disc=_share(real.get("disc_radius_tells_noise")),
        noise_by_grey=_share(real.get("mean_grey_tells_noise")),
        pictures=[_picture(folder, case) for case in cases if case["picture"]],
    )


def _sentence(found: Mapping[str, Any]) -> str:
    cases = found["cases"]
    if not cases:
        return "The audit was switched off: whether a class can be told without anatomy is unknown."
    begin = (
        f"The geometry of {plural(found['scans'], 'scan')} was filled with nothing to see and cut in the same"
        " way. Whoever tells coronal from sagittal there has not looked at a brain. "
    )
    leaks = [case for case in cases if case["leak"]]
    if not leaks:
        return begin + "Neither of two judges could."
    worst = max(float(case["accuracy"]) for case in leaks)
    return f"{begin}A judge could, in up to {percent(worst)} of planes: no figure here can be trusted."


def _verdict(case: Mapping[str, Any]) -> str:
    return "tells the class" if case["leak"] else "at chance"


def _look(case: Mapping[str, Any], of: str, verdict: str) -> Look:
    low, high = case["interval"]
    return Look(
        judge=case["judge"],
        of=of,
        accuracy=percent(case["accuracy"]),
        interval=f"{percent(low)} – {percent(high)}",
        verdict=verdict,
    )


def _share(share: float | None) -> str:
    return ABSENT if share is None else percent(share)


def _picture(folder: Path, case: Mapping[str, Any]) -> tuple[str, str]:
    return f"{case['judge']}, {case['kind']}", png_uri((folder / case["picture"]).read_bytes())
