"""What tests of several pages look at."""

import re
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects numbers, references, ids and text; refuses tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []  # pointer, value, text
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "data", "action", "srcset")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag == "data":
            self.numbers.append((given["data-at"] or "", given["value"] or "", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "data":
            pointer, value, text = self.numbers[-1]
            self.numbers[-1] = (pointer, value, text + data)


def look_up(values: Any, pointer: str) -> Any:
    for key in pointer.split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        values = values[int(key)] if isinstance(values, list) else values[key]
    return values


def cut_texts(page: str) -> list[str]:
    """Return the texts of drawings that reach beyond their drawing, by a generous width of a letter."""
    cut = []
    for drawing in re.findall(r"<svg.*?</svg>", page, re.S):
        width = float(re.search(r'viewBox="0 0 ([0-9.]+)', drawing).group(1))  # type: ignore[union-attr]
        for attributes, text in re.findall(r"<text([^>]*)>([^<]*)</text>", drawing):
            given = dict(re.findall(r'([a-z-]+)="([^"]*)"', attributes))
            reach, x = 6.3 * len(text), float(given["x"])
            share = {"end": 1.0, "middle": 0.5}.get(given.get("text-anchor", ""), 0.0)
            if x - share * reach < -8 or x + (1 - share) * reach > width + 8:
                cut.append(text)
    return cut


def table(page: str, header: str) -> list[list[str]]:
    """Return the texts of the one table with such a header, row by row."""
    (found,) = (each for each in re.findall(r"<table.*?</table>", page, re.S) if header in each)
    return [
        [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.S)]
        for row in re.findall(r"<tr.*?</tr>", found, re.S)
    ]


def between(interval: list[float], how: Any, word: str) -> str:
    return f"{how(interval[0])} {word} {how(interval[1])}"
