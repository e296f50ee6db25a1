"""The page in another language: its English sentences, one by one, through one catalogue.

The claims of a page are made once, in English, and metrics.json is the same whatever the language. A
catalogue, components/report/es.json, has English sentences as keys. {1} stands for what varies, and is
translated in turn unless it is a number; {=1} for a name, which is kept. A key also fits with a capital or a
full stop that it lacks. What is inside <code>, <time> and translate="no" stays, as the reasons that volumes
are refused for; so does a sentence that no key fits.
"""

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

ENGLISH, SPANISH = "en", "es"
LANGUAGES = (ENGLISH, SPANISH)

_TOKEN = re.compile(r"<style>.*?</style>|<[^>]*>|[^<]+", re.DOTALL)
_KEPT = r"[^\s;:]+"  # a name is one word: what is longer could be prose
_INLINE = ("data", "code", "time")  # those that stand inside a sentence, as {1} does
_SPOKEN = re.compile(r'(?<= )(alt|title|aria-label)="([^"]*)"')  # attributes that are read
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[^\Wa-z_]|[\ue000-\uf8ff]|fold\d)")
_HOLE = re.compile(r"\{(=?)(\d)\}")
# A decimal number in running text, but for versions (0.1.0) and names (Apache-2.0, a1.5).
_NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\w.]*\d)")
_NAME = re.compile(r"[\w.+:/-]*[\d_][\w.+:/-]*")  # p01, round_002, 3fa1-7c21e09b4d, 0.1.0


class Catalogue:
    """Translations by English sentence, and those that were asked for in vain."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        self.missing: set[str] = set()
        self.used: set[str] = set()
        self._exact = {key: value for key, value in sentences.items() if not _HOLE.search(key)}
        holed = sorted(sentences.keys() - self._exact.keys(), key=lambda key: (-len(_HOLE.sub("", key)), key))
        self._patterns = [(key, _pattern(key), sentences[key]) for key in holed]
        self._known: dict[str, str | None] = {}

    def translate(self, text: str) -> str:
        """Return a run of sentences in the other language."""
        whole = self._find(text)
        return whole if whole is not None else " ".join(map(self._sentence, _SENTENCES.split(text)))

    def _sentence(self, text: str) -> str:
        found = self._find(text)
        if found is None:
            self.missing.add(text)
            return text
        return found

    def _find(self, text: str) -> str | None:
        """Return a translation, the text itself where it has no words, or None."""
        if text not in self._known:
            tried = (self._look(text), *(self._look(other, like) for other, like in _likes(text)))
            self._known[text] = next((told for told in tried if told is not None), None)
        return self._known[text]

    def _look(self, text: str, like: Callable[[str], str] = str) -> str | None:
        if text in self._exact:
            self.used.add(text)
            return like(self._exact[text])
        if not _worded(text):
            return like(text)
        for key, pattern, translation in self._patterns:
            if (match := pattern.fullmatch(text)) and (told := self._holes(match)) is not None:
                self.used.add(key)
                return like(_filled(translation, told))
        return None

    def _holes(self, match: re.Match[str]) -> dict[str, str] | None:
        told = {}
        for name, value in match.groupdict().items():
            found = value if name.startswith("kept") else self._find(value)
            if found is None:
                return None
            told[name[-1]] = found
        return told


def _likes(text: str) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Yield how a key may write a text otherwise, and how its translation is then written like the text."""
    small, capital = text[:1].lower() + text[1:], text[:1].isupper()
    if capital:
        yield small, _capitalised
    if text.endswith("."):
        yield text[:-1], lambda told: f"{told}."
        if capital:
            yield small[:-1], lambda told: f"{_capitalised(told)}."


def _capitalised(text: str) -> str:
    first = 1 if text.startswith(("¿", "«")) else 0
    return text[:first] + text[first : first + 1].upper() + text[first + 1 :]


def _filled(translation: str, told: Mapping[str, str]) -> str:
    return _HOLE.sub(lambda hole: told[hole[2]], translation)


def _pattern(key: str) -> re.Pattern[str]:
    parts, place = [], 0
    for hole in _HOLE.finditer(key):
        name = f"{'kept' if hole[1] else 'told'}{hole[2]}"
        parts += [re.escape(key[place : hole.start()]), f"(?P<{name}>{_KEPT if hole[1] else '.+?'})"]
        place = hole.end()
    return re.compile("".join([*parts, re.escape(key[place:])]), re.DOTALL)


def _worded(text: str) -> bool:
    """Tell whether a text has words, and not only numbers, signs and names."""
    words = re.sub(r"[\ue000-\uf8ff]", " ", text).split()
    return any(re.search(r"[A-Za-z]", word) and not _NAME.fullmatch(word.strip("()[],.;")) for word in words)


def translated(page: str, catalogue: Catalogue, language: str) -> str:
    """Return a page in another language."""
    page = page.replace(f'<html lang="{ENGLISH}">', f'<html lang="{language}">')
    return "".join(_translate_run(run, catalogue) for run in _runs(page))


def _runs(page: str) -> Iterator[list[str]]:
    """Yield a page in pieces: one tag, one part that is kept, or a run of text and what stands inside it."""
    tokens = iter(_TOKEN.findall(page))
    run: list[str] = []
    for piece in tokens:
        if not piece.startswith("<"):
            run.append(piece)
        elif piece == "<br>" or _named(piece) in _INLINE:
            run.append(piece if piece == "<br>" else _element(piece, tokens))
        else:
            yield run
            yield [_element(piece, tokens) if 'translate="no"' in piece else piece]
            run = []
    yield run


def _element(opening: str, tokens: Iterator[str]) -> str:
    """Return an element with all that is in it."""
    name, parts, depth = _named(opening), [opening], 1
    while depth:
        parts.append(next(tokens))
        if parts[-1].startswith("<"):
            depth += (_named(parts[-1]) == name) - (parts[-1] == f"</{name}>")
    return "".join(parts)


def _named(tag: str) -> str:
    return tag[1:].partition(">")[0].partition(" ")[0]


def _translate_run(run: list[str], catalogue: Catalogue) -> str:
    if not any(not piece.startswith("<") or piece == "<br>" for piece in run):
        return "".join(_with_numbers(_attributes(piece, catalogue), catalogue) for piece in run)
    kept: list[str] = []
    text = ""
    for piece in run:
        if piece.startswith("<") and piece != "<br>":
            kept.append(_with_numbers(piece, catalogue))
            text += chr(0xE000 + len(kept) - 1)
        else:
            text += piece if piece == "<br>" else html.unescape(piece)
    if not text.strip():
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    told = catalogue.translate(re.sub(r"\s+", " ", text.strip()))
    told = html.escape(comma(told), quote=False).replace("&lt;br&gt;", "<br>")
    return before + re.sub(r"[\ue000-\uf8ff]", lambda place: kept[ord(place[0]) - 0xE000], told) + after


def _attributes(tag: str, catalogue: Catalogue) -> str:
    """Return a tag with those attributes translated that are read to somebody."""

    def spoken(match: re.Match[str]) -> str:
        told = comma(catalogue.translate(html.unescape(match[2])))
        return f'{match[1]}="{html.escape(told)}"'

    return tag if 'translate="no"' in tag or tag.startswith("<style") else _SPOKEN.sub(spoken, tag)


def _with_numbers(element: str, catalogue: Catalogue) -> str:
    """Return <data> with its text in Spanish numbers; its value is for machines."""
    if not element.startswith("<data"):
        return element
    opening, text = element.removesuffix("</data>").split(">", 1)
    told = comma(catalogue.translate(html.unescape(text)))
    return f"{opening}>{html.escape(told, quote=False)}</data>"


def comma(text: str) -> str:
    """Return a text with decimal commas, and thousands set apart by a thin space."""

    def written(match: re.Match[str]) -> str:
        whole, rest = match[1].replace(",", "\u202f"), match[2] or ""
        return whole + rest.replace(".", ",")

    return _NUMBER.sub(written, text)


@cache
def catalogue_of(language: str) -> Mapping[str, str]:
    """Return a language's sentences."""
    return dict(json.loads((Path(__file__).parent / f"{language}.json").read_text(encoding="utf-8")))


def in_language(page: str, language: str) -> str:
    """Return a page in one of LANGUAGES."""
    return page if language == ENGLISH else translated(page, Catalogue(catalogue_of(language)), language)
