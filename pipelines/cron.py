"""The cron expressions of KFP's scheduler: six fields, seconds first."""

import re

from components.shared.faults import InputError

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
Field = tuple[str, int, int, tuple[str, ...]]  # its name, its least and its greatest number, its words
FIELDS: tuple[Field, ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # of every month, in a leap year


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
    _require_some_day(cron, *parts[3:])


def _require_some_day(cron: str, days: str, months: str, weekdays: str) -> None:
    """Refuse days that none of the months has, such as 31 February: the scheduler would wait in silence.

    Where days of the week are named as well either fires, but a `*` or `?` among them makes both needed.
    """
    if not re.search(r"[*?]", weekdays):
        return
    longest = max(LONGEST[month - 1] for month in _numbers(months, FIELDS[4]))
    if min(_numbers(days, FIELDS[3])) > longest:
        raise InputError(f"cron: {cron}: {days}: no day of month {months}; valid: 1 to {longest}")


def _numbers(part: str, field: Field) -> set[int]:
    """Return what a day or month field stands for, after `check_cron` has looked at its form."""
    _, least, most, words = field
    numbers: set[int] = set()
    for item in part.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        start = least if first in ("*", "?") else _place(first, least, words)
        open_ended = first in ("*", "?") or step  # 5/10 goes on to the end, as */10 does
        end = _place(last, least, words) if last else most if open_ended else start
        numbers.update(range(start, end + 1, int(step or 1)))
    return numbers


def _place(text: str, least: int, words: tuple[str, ...]) -> int:
    """Return the number that a day or month stands for."""
    return int(text) if text.isdigit() else words.index(text.upper()) + least
