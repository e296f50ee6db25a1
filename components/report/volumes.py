"""The page of the volumes: each one's passport as a card, or as a row where they are many."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from components.report.svg import Axes, Drawing
from components.report.words import ABSENT, count, listed, plural
from components.shared.passports import ACCEPT, REFUSE, SUSPECT, Passport
from components.shared.planes import CORONAL, SAGITTAL
from components.shared.suspicions import DIRECTIONS, Measured

MAX_CARDS = 60  # with more volumes, cards are for those that need a look, and a page stays light
_ORDER = (REFUSE, SUSPECT, ACCEPT)
_WORDS = {ACCEPT: "Accepted", SUSPECT: "Suspect", REFUSE: "Refused"}
_ENDS = {
    "R": "right",
    "L": "left",
    "A": "anterior",
    "P": "posterior",
    "S": "superior",
    "I": "inferior",
}
COLUMNS = (
    "Volume",
    "Patient",
    "Verdict",
    "Voxels",
    "Spacing (mm)",
    "Axes",
    "Sphere (mm)",
    "Left-right",
    "Planes",
    "Tissue",
)
_WIDTH, _HEIGHT = 288.0, 66.0  # px of a content profile, as wide as the pictures above it
_TILTED_DEG = 0.5  # below it an axis is called straight


@dataclass(frozen=True, kw_only=True)
class Card:
    """One volume in words and pictures."""

    volume: str
    patient: str  # with session and site where they are known
    verdict: str  # accept, suspect, refuse
    word: str
    reasons: Sequence[str]
    facts: Sequence[str]
    picture: str  # data URI, empty for a refused volume
    profile: Markup


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the section shows."""

    summary: str
    cards: Sequence[Card]
    rows: Sequence[Sequence[str]]  # of the table, as COLUMNS name them
    columns: Sequence[str]


def volumes_page(passports: Sequence[Passport]) -> Page:
    """Return the section's content: refused and suspect volumes first; accepted ones as cards if few.

    Those of one verdict keep the order of the passports, which is that of their files' names: pseudonyms and
    hashes have none that a reader knows.
    """
    ordered = sorted(passports, key=lambda each: _ORDER.index(each.verdict))
    doubtful = [each for each in ordered if each.verdict != ACCEPT]
    shown = ordered if len(ordered) <= MAX_CARDS else doubtful[:MAX_CARDS]
    return Page(
        summary=summary(passports),
        cards=[card(each) for each in shown],
        rows=[row(each) for each in ordered[len(shown) :]],
        columns=COLUMNS,
    )


def summary(passports: Sequence[Passport]) -> str:
    """Return the counts of the verdicts in one sentence."""
    counts = Counter(each.verdict for each in passports)
    if counts[ACCEPT] == len(passports):
        return f"{plural(len(passports), 'volume')}, {'all ' * (len(passports) > 1)}accepted."
    said = [
        f"{count(counts[verdict])} {'is' if counts[verdict] == 1 else 'are'} {_WORDS[verdict].lower()}"
        for verdict in (ACCEPT, SUSPECT, REFUSE)
        if counts[verdict]
    ]
    return f"Of {plural(len(passports), 'volume')}, {listed(said)}."


def card(passport: Passport) -> Card:
    """Return one volume's card."""
    measured = passport.measured
    owner = [passport.patient, passport.session, passport.site]
    return Card(
        volume=passport.volume,
        patient=", ".join(dict.fromkeys(filter(None, owner))),
        verdict=passport.verdict,
        word=_WORDS[passport.verdict],
        reasons=[_sentence(each) for each in (passport.reason, *passport.also) if each],
        facts=[] if measured is None else facts(measured),
        picture=f"data:image/png;base64,{passport.thumbnail}" if passport.thumbnail else "",
        profile=Markup() if measured is None else profile(measured),
    )


def facts(measured: Measured) -> list[str]:
    """Return a volume's geometry and content, a sentence each."""
    return [
        f"{_sizes(measured)} voxels of {_spacing(measured)} mm ({_extent(measured)} mm), {_axes(measured)}.",
        f"Cut within {measured.radius_mm:.0f} mm of the content's centre: {plural(measured.planes, 'plane')},"
        f" the fullest {100 * measured.best_content:.0f} % tissue.",
        _symmetry(measured),
        *(_sentence(note) for note in measured.notes),
    ]


def row(passport: Passport) -> list[str]:
    """Return one volume's row of the table."""
    begin = [passport.volume[:8], passport.patient, _WORDS[passport.verdict]]
    measured = passport.measured
    if measured is None:
        return begin + [ABSENT] * (len(COLUMNS) - len(begin))
    agreed = {True: "agrees", False: "contradicts", None: "not told"}[measured.header_agrees]
    tilt = f", {measured.oblique_deg:.0f}°" if measured.oblique_deg >= _TILTED_DEG else ""
    return [
        *begin,
        _sizes(measured),
        _spacing(measured),
        measured.axes + tilt,
        f"{measured.radius_mm:.0f}",
        agreed,
        count(measured.planes),
        f"{100 * measured.best_content:.0f} %",
    ]


def profile(measured: Measured) -> Markup:
    """Draw how much tissue the planes show, from one end of the volume to the other."""
    drawing = Drawing(width=_WIDTH, height=_HEIGHT, title="Share of tissue on each plane, by its offset")
    offsets = [offset for points in measured.profile.values() for offset, _ in points]
    reach = max([1.0, *map(abs, offsets)])
    axes = Axes(left=38, top=5, width=_WIDTH - 76, height=42, x_range=(-reach, reach), y_range=(0, 1))
    axes.draw_y(drawing, [])
    for share, text in ((0.0, "0 %"), (1.0, "100 %")):
        drawing.line(axes.left, axes.y(share), axes.left + axes.width, axes.y(share), "rule")
        drawing.text(axes.left - 5, axes.y(share) + 4, text, "tick", "end")
    for offset, text in ((-reach, f"−{reach:.0f}"), (0.0, "0"), (reach, f"+{reach:.0f} mm")):
        drawing.text(axes.x(offset), axes.bottom + 15, text, "tick", "middle")
    for name, look in ((CORONAL, "curve"), (SAGITTAL, "curve dashed")):
        places = [f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in measured.profile.get(name, ())]
        if places:
            drawing.path("M" + "L".join(places), look)
    return drawing.markup()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + "." * (not text.endswith("."))


def _sizes(measured: Measured) -> str:
    return " × ".join(str(size) for size in measured.sizes)


def _spacing(measured: Measured) -> str:
    spacing = [f"{mm:.2f}" for mm in measured.spacing_mm]
    return spacing[0] if len(set(spacing)) == 1 else " × ".join(spacing)


def _extent(measured: Measured) -> str:
    return " × ".join(f"{n * mm:.0f}" for n, mm in zip(measured.sizes, measured.spacing_mm, strict=True))


def _axes(measured: Measured) -> str:
    ends = listed([_ENDS[letter] for letter in measured.axes])
    tilt = f", tilted {measured.oblique_deg:.0f}°" if measured.oblique_deg >= _TILTED_DEG else ""
    hand = ", left-handed" if measured.handedness == "left" else ""
    return f"stored to {ends} ({measured.axes}{tilt}{hand})"


def _symmetry(measured: Measured) -> str:
    right, anterior, superior = measured.mirror
    if measured.header_agrees is None:
        best = max(measured.mirror)
        return (
            f"Mirror symmetry finds no left-right axis ({best:.2f} at best), so the header's could not be"
            " checked."
        )
    if measured.header_agrees:
        lean = f", the head tilted {measured.tilt_deg[0]:.0f}°" if measured.tilt_deg[0] >= 1 else ""
        other = max(anterior, superior)
        shown = f"{right:.2f}, others up to {other:.2f}{lean}"
        return f"Mirror symmetry finds the header's left-right axis ({shown})."
    found = DIRECTIONS[measured.left_right]
    return f"Mirror symmetry finds left-right along the header's {found} axis ({max(measured.mirror):.2f})."
