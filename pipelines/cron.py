"""The cron expressions of KFP's scheduler: six fields, seconds first."""

import re

from components.shared.faults import InputError

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)


def check_cron(cron: str) -> None:
    """Refuse what KFP's scheduler would take for another time than was meant.

    It reads five fields as seconds to months, without a word: `0 3 * * 1`, to others Monday at three, is
    there three minutes past every hour of January.
    """
    parts = cron.split()
    if len(parts) != len(FIELDS):
        meant = f"0 {cron}" if len(parts) == len(FIELDS) - 1 else "0 0 3 * * 1"
        raise InputError(f"cron: {cron}: {len(parts)} fields; valid: 6, seconds first, e.g. {meant}")
    for part, (name, least, most, words) in zip(parts, FIELDS, strict=True):
        one = "|".join([*map(str, range(least, most + 1)), *words])
        form = rf"(\*|\?|({one})(-({one}))?)(/[1-9]\d?)?"
        if not re.fullmatch(f"{form}(,{form})*", part, re.IGNORECASE):
            valid = f"*, or {least} to {most}, as in 1,3-5 or */2"
            raise InputError(f"cron: {cron}: {part}: no {name}; valid: {valid}")
        for first, last in re.findall(r"(\w+)-(\w+)", part):
            if _place(first, least, words) > _place(last, least, words):
                raise InputError(f"cron: {cron}: {part}: ends before it begins; valid: {last}-{first}")
    if not parts[0].isdigit():
        raise InputError(f"cron: {cron}: several runs a minute; valid: one second, e.g. 0 0 3 * * 1")


def _place(text: str, least: int, words: tuple[str, ...]) -> int:
    """Return the number that a day or month stands for."""
    return int(text) if text.isdigit() else words.index(text.upper()) + least
