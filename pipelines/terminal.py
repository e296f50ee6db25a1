"""What a person sees while a pipeline runs on their laptop: one line a stage, with how far it is."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

_QUIET_S = 15.0  # between two lines of progress where lines cannot be overwritten


class Terminal:
    """Shows the events of a run as they are appended to a file."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._begun = time.monotonic()
        self._started: dict[str, float] = {}
        self._images: dict[str, int] = {}
        self._said = 0.0
        self.errors: list[str] = []  # a stage's own words, "stage: message"

    def say(self, text: str) -> None:
        """Show a line of the engine's own."""
        self._line(text)

    def show(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        stage, kind = event["stage"], event["event"]
        if kind == "start":
            self._started[stage] = time.monotonic()
            self._update(f"{stage} ...")
        elif kind == "progress":
            self._images[stage] = event["total"]
            self._update(f"{stage}  {event['done']:,} of {event['total']:,}")
        elif kind == "error":
            self.errors.append(f"{stage}: {event['message']}")
        elif kind == "warning":
            self._line(f"{stage}: warning: {event['message']}")
        elif kind == "note":
            self._line(f"{stage}: {event['message']}")
        elif kind in ("done", "cached"):  # the parameters, too, are an event: for a pod's log
            self._finish(stage, kind)

    def _finish(self, stage: str, kind: str) -> None:
        if kind == "cached":
            return self._line(f"{stage:<32} kept from before")
        seconds = time.monotonic() - self._started.get(stage, time.monotonic())
        images = f"{self._images[stage]:>9,} images" if stage in self._images else ""
        return self._line(f"{stage:<32}{seconds:>7.1f} s {images}")

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        return f"[{minutes:02}:{seconds:02}]"

    def _update(self, text: str) -> None:
        if self._live:
            self._out.write(f"\r\033[K{self._clock()} {text}")
            self._out.flush()
        elif time.monotonic() - max(self._said, self._begun) >= _QUIET_S:
            self._line(text)

    def _line(self, text: str) -> None:
        start = "\r\033[K" if self._live else ""
        self._said = time.monotonic()
        self._out.write(f"{start}{self._clock()} {text.rstrip()}\n")
        self._out.flush()


class EventFile:
    """Reads the events that stages append to a file, each once."""

    def __init__(self, path: Path) -> None:
        path.write_text("")
        self.path = path
        self._offset = 0

    def read(self) -> Iterator[Mapping[str, Any]]:
        """Yield the events appended since the last call."""
        with self.path.open() as file:
            file.seek(self._offset)
            while (line := file.readline()).endswith("\n"):
                self._offset = file.tell()
                yield json.loads(line)
