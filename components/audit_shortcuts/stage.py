"""Asks two judges to tell coronal from sagittal planes of volumes without anatomy, before any GPU is used.

They must be unable to: a class that is told where nothing is to see would be learnt instead of the brain.
Noise is defined by content and is not judged here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.audit_shortcuts.blanks import KINDS, RAMP, Cuts, Pictures, Scan, gather
from components.audit_shortcuts.judges import JUDGES, PIXELS, Sheet, judge
from components.audit_shortcuts.pictures import draw_traces
from components.audit_shortcuts.real import describe_real
from components.shared import passports, stored_json
from components.shared.audit import FINDINGS, MODES, OFF, STOP, WARN
from components.shared.faults import InputError
from components.shared.geometry import FULL, SPHERE, Window
from components.shared.planes import PlaneSet
from components.shared.progress import Progress, emit, silent

AT_CHANCE, LEAK, SKIPPED = "at chance", "leak", "skipped"

MOST_SCANS = 16
FEWEST_BLANKS = 12  # with fewer an accuracy of 0.6 could hide behind its interval
ENOUGH_PATIENTS = 6  # with fewer, judges learn from other scans, a patient's own among them
FEWEST_SCANS = 3  # with fewer, from other blanks of the same scan
# Of each class and blank. The regression's accuracy on speckle without a trace, 24 times over 14 blanks:
# standard deviation 0.037 and one false alarm with 16 planes, 0.020 and none with 40.
PLANES = 40
RAMP_PLANES = 14  # of each class and each of the three ramps
REAL_PLANES = 16  # of each class and real volume, for the figures beside
# Chance of one false alarm or more in a run without a trace, shared by all judges and kinds (Bonferroni).
FALSE_ALARMS = 0.025
# A ramp has no chance in it, and yet rounded grey levels tell a plane from its partner in the other class now
# and then. Of seven geometries with 10 draws each, real shapes, oblique and unequal grids and single scans
# among them, ramps were at 0.497 to 0.504, where one or two scans stand for all at 0.504 to 0.524, the bound
# below 0.51; speckle's below 0.49. So a trace that tells 0.59 of the planes of 16 scans is found.
SLACK = 0.02


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a finding leads to."""

    audit: str  # stop, warn or off
    seed: int

    def __post_init__(self) -> None:
        if self.audit not in MODES:
            raise InputError(f"audit={self.audit}: unknown; valid: {', '.join(MODES)}")


def audit_shortcuts(
    config: Config, planes: Path, out: Path, progress: Progress = silent
) -> Mapping[str, Any]:
    """Write audit.json and a picture of each trace; raise InputError on a leak when audit is stop.

    Args:
        config: what a finding leads to.
        planes: the PlaneSet of the real volumes, its passports.json beside it.
        out: folder for the findings.
        progress: told how many kinds of blank are done.

    """
    out.mkdir(parents=True, exist_ok=True)
    (out / FINDINGS).unlink(missing_ok=True)
    if config.audit == OFF:
        return _write(out, {"audit": OFF, "verdict": SKIPPED, "cases": []})
    opened = PlaneSet.open(planes)
    known = read_scans(opened)
    chosen = choose(known, config.seed)
    cases = []
    for done, kind in enumerate(KINDS):
        progress(done, len(KINDS))
        cases += judge_kind(kind, chosen, _cuts(opened, kind), config.seed, out)
    progress(len(KINDS), len(KINDS))
    found = {
        "audit": config.audit,
        "verdict": LEAK if any(case["leak"] for case in cases) else AT_CHANCE,
        "seed": config.seed,
        "field_of_view": opened.settings["field_of_view"],
        "scans": len({scan.volume for scan in chosen}),
        "patients": len({scan.patient for scan in chosen}),
        "looks": len(cases),
        "false_alarms": FALSE_ALARMS,
        "slack": SLACK,
        "cases": cases,
        "real": describe_real(opened, known, REAL_PLANES, config.seed),
    }
    return _answer(config, _write(out, found))


def read_scans(planes: PlaneSet) -> list[Scan]:
    """Return the geometry of every volume that the planes were cut from."""
    path = planes.folder / passports.PASSPORTS
    if not path.is_file():
        raise InputError(f"{path}: absent; extract the planes again, the audit needs each volume's geometry")
    found = {each.volume: each for each in passports.read(path) if each.measured is not None}
    missing = sorted({row.volume for row in planes.rows} - set(found))
    if missing:
        raise InputError(f"{path}: no passport for volume {missing[0]}; extract the planes again")
    return [Scan.of(each, each.measured) for _, each in sorted(found.items()) if each.measured is not None]


def choose(scans: Sequence[Scan], seed: int) -> list[Scan]:
    """Return at most MOST_SCANS, spread over sites and patients; few scans are taken several times."""
    order = np.random.default_rng(seed).permutation(len(scans))
    queues: defaultdict[str, defaultdict[str, list[Scan]]] = defaultdict(lambda: defaultdict(list))
    for place in order:
        queues[scans[place].site][scans[place].patient].append(scans[place])
    by_site = [_in_turn(list(patients.values())) for patients in queues.values()]
    chosen = _in_turn(by_site)[:MOST_SCANS]
    return chosen * -(-FEWEST_BLANKS // len(chosen))


def _in_turn(queues: Sequence[Sequence[Scan]]) -> list[Scan]:
    longest = max(len(queue) for queue in queues)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def _cuts(planes: PlaneSet, kind: str) -> Cuts:
    settings = planes.settings
    return Cuts(
        window=Window(
            field_of_view_mm=settings["field_of_view_mm"],
            side_px=planes.side,
            field_of_view=settings["field_of_view"],
        ),
        angles_deg=settings["plane_angles_deg"],
        spacing_mm=settings["plane_spacing_mm"],
        planes=RAMP_PLANES if kind == RAMP else PLANES,
    )


def judge_kind(kind: str, scans: Sequence[Scan], cuts: Cuts, seed: int, out: Path) -> list[dict[str, Any]]:
    """Return what every judge makes of one kind of blank, with a picture of each leak."""
    return judge_pictures(kind, gather(kind, scans, cuts, seed), _groups(scans), seed, out)


def judge_pictures(
    kind: str, pictures: Pictures, groups: Sequence[int], seed: int, out: Path
) -> list[dict[str, Any]]:
    """Return what every judge makes of planes; blanks of one group, a number each, are left out together."""
    level = FALSE_ALARMS / (len(JUDGES) * len(KINDS))
    cases = []
    for name, features, how in JUDGES:
        sheet = Sheet(
            features_NF=features(pictures.images_NHW),
            sagittal_N=pictures.sagittal_N,
            groups_N=np.asarray(groups)[pictures.blanks_N],
            volumes_N=pictures.blanks_N,
        )
        case = {"judge": name, "kind": kind} | asdict(judge(sheet, how, level, seed))
        case["leak"] = case["surely_above"] > 0.5 + SLACK
        case["picture"] = f"{kind}_{'pixels' if name == PIXELS else 'spectra'}.png" if case["leak"] else ""
        if case["picture"]:
            draw_traces(out / case["picture"], name, pictures)
        cases.append(case)
    return cases


def _groups(scans: Sequence[Scan]) -> list[int]:
    """Return whose blanks are left out together: a patient's, of few patients a scan's, of one or two each.

    A ramp has no chance in it: another blank of the same scan holds the very planes that are to be told, and
    where planes are few their partners in the other class lie just behind.
    """
    patients, volumes = (sorted({getattr(scan, of) for scan in scans}) for of in ("patient", "volume"))
    if len(patients) >= ENOUGH_PATIENTS:
        return [patients.index(scan.patient) for scan in scans]
    if len(volumes) >= FEWEST_SCANS:
        return [volumes.index(scan.volume) for scan in scans]
    return list(range(len(scans)))


def _write(out: Path, found: dict[str, Any]) -> dict[str, Any]:
    stored_json.write(out / FINDINGS, found)
    return found


def _answer(config: Config, found: Mapping[str, Any]) -> Mapping[str, Any]:
    leaks = [case for case in found["cases"] if case["leak"]]
    if not leaks:
        return found
    message = _message(config, found, max(leaks, key=lambda case: float(case["accuracy"])), len(leaks))
    if config.audit == STOP:
        raise InputError(message)
    emit("audit_shortcuts", "warning", message=message)
    return found


def _message(config: Config, found: Mapping[str, Any], worst: Mapping[str, Any], leaks: int) -> str:
    remedy = "the volumes' geometry tells the class: see the picture in the findings, and the passports"
    if found["field_of_view"] == FULL:
        remedy = f"the block's outline tells the class: set field_of_view={SPHERE}"
    low, high = worst["interval"]
    more = f" (worst of {leaks} findings)" if leaks > 1 else ""
    return (
        f"audit={config.audit}: {worst['judge']} tells coronal from sagittal on {worst['kind']} volumes"
        f" without anatomy in {100 * worst['accuracy']:.1f} % of planes, 95 % interval {100 * low:.1f} to"
        f" {100 * high:.1f}, chance 50{more}; {remedy}; or audit={WARN} to go on regardless"
    )
