"""The ledger: what every round knew and decided, in object storage under {state_uri}/{run}/.

    run.json                     the run's parameters, rule and sides of patients; create-only
    lease.json                   who is working on it (components/shared/lease.py)
    expert_labels.csv            what an expert said of some images, where a run was given it
    rounds/000/classifier-HASH.safetensors   the weights, as soon as they are trained
    rounds/000/classifier.json   what they are; create-only
    rounds/000/labels-HASH.csv   image, label, confidence, status of the whole pool; create-only
    rounds/000/round.json        written once, last, create-only: its presence seals the round
    history.csv                  every image in every round, written when the rounds are closed
    published/supervised/        the baseline's classifier, written when the rounds are closed
    published/round_001/         the best round's, as well

Images never move; a label is a row.
"""

import csv
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Self

from components.shared import expert_labels, storage, stored_json
from components.shared.expert_labels import ExpertRow
from components.shared.faults import InputError
from components.shared.planes import digest_of
from components.shared.rounds import Round, RoundRule, model_name
from components.shared.splits import Splits
from components.shared.stored_json import described
from components.shared.weights import ABOUT, WEIGHTS, weights_digest

RECORD, EXPERTS, PUBLISHED = "run.json", "expert_labels.csv", "published"
_RULE = RoundRule.__annotations__
_SEALED: stored_json.Shape = {"round": int, "labels_sha256": str}


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """What a round thinks of one synthetic image."""

    image: str
    label: str
    confidence: float  # of the label, 0..1
    # accepted, below (the threshold), rejected (outside gan_classes), capped (too many of its class), scored
    # (would have been accepted, had the loop not stopped)
    status: str


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """One run's ledger, opened by name."""

    state_uri: str
    run: str

    @classmethod
    def at(cls, uri: str) -> Self:
        """Return the ledger whose objects are at a place."""
        state_uri, _, run = uri.rpartition("/")
        return cls(state_uri=state_uri, run=run)

    @property
    def uri(self) -> str:
        """Where the run's objects are."""
        return storage.join(self.state_uri, self.run)

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write run.json, or check that the one there is of the same study."""
        uri = storage.join(self.uri, RECORD)
        if storage.create(uri, stored_json.text(record).encode()):
            return
        known = self._record({})
        if different := _differences(record, known):
            raise self._another(different)

    def require_same_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters with which the run of this name, if there is one, was not begun."""
        if not storage.exists(storage.join(self.uri, RECORD)):
            return
        known = self._record({}).get("parameters", {})
        if different := _differing(known, parameters):
            raise self._another(different)

    def _another(self, different: Sequence[str]) -> InputError:
        return InputError(
            f"run_name={self.run}: {storage.join(self.uri, RECORD)} holds a run with other"
            f" {', '.join(different)}; valid: a new run_name, or an empty one, which names the run by its"
            " contents"
        )

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the run was opened with."""
        return dict(self._record({"parameters": dict})["parameters"])

    def _record(self, shape: Mapping[str, stored_json.Shape]) -> Mapping[str, Any]:
        return dict(_read(storage.join(self.uri, RECORD), shape))

    @property
    def finished(self) -> bool:
        """Whether its rounds were closed: the baseline's JSON is the last thing published."""
        return storage.exists(storage.join(self.uri, PUBLISHED, "supervised", ABOUT))

    def keep_expert_labels(self, text: str) -> None:
        """Keep what an expert said of some images; the run's name covers its content."""
        storage.create(self._experts, text.encode())

    def expert_labels(self) -> list[ExpertRow]:
        """Return what an expert said, nothing where nobody was asked."""
        if not storage.exists(self._experts):
            return []
        return expert_labels.parse(storage.read_bytes(self._experts).decode(), self._experts)

    @property
    def _experts(self) -> str:
        return storage.join(self.uri, EXPERTS)

    @property
    def has_rounds(self) -> bool:
        """Whether it is opened for rounds of its own, and not for a study, whose cells have them."""
        return "rule" in self._record({})

    def rule(self) -> RoundRule:
        """Return the run's stopping rule."""
        rule = self._record({"rule": _RULE})["rule"]
        return RoundRule(**{name: rule[name] for name in _RULE})

    def splits(self) -> Splits:
        """Return the sides that the run was opened with; of nobody where none were recorded."""
        record = self._record({})
        return Splits(record.get("folds", {}), record.get("sides", {}))

    def require_same_sides(self, splits: Splits) -> None:
        """Refuse to go on with other sides than those the run was opened with."""
        opened = self.splits()
        if opened.sides and (moved := _moved(opened.sides, splits.sides)):
            raise InputError(
                f"{self.uri}: opened with other sides of patients {moved}, by {splits.name}; valid: the sides"
                " it was opened with, or a run_name of its own"
            )

    def round_uri(self, number: int) -> str:
        """Where a round's objects are."""
        return storage.join(self.uri, "rounds", f"{number:03}")

    def _seal_uri(self, number: int) -> str:
        return storage.join(self.round_uri(number), "round.json")

    def rounds(self) -> list[Round]:
        """Return the sealed rounds in order, from 0 to the last."""
        found: list[Round] = []
        while storage.exists(uri := self._seal_uri(len(found))):
            found.append(_read(uri, _SEALED))
        return found

    def seal(self, summary: Round, labels: Sequence[LabelRow]) -> None:
        """Write a round's labels and then, create-only, the record that makes the round count.

        A round that is sealed with this very record stays as it is: a stage may die after its seal and be
        started again. One sealed otherwise is refused, and stays as well.
        """
        text = write_labels(labels)
        folder = self.round_uri(summary["round"])
        digest = hashlib.sha256(text).hexdigest()
        record = stored_json.text({**summary, "labels_sha256": digest}).encode()
        seal = self._seal_uri(summary["round"])
        if not storage.exists(seal):
            storage.create(_labels_uri(folder, digest), text)  # under its own name: no attempt undoes another
            storage.create(seal, record)
        if storage.read_bytes(seal) != record:
            raise InputError(
                f"{folder}: sealed by another run meanwhile; valid: one run at a time per run_name"
            )

    def labels(self, number: int) -> list[LabelRow]:
        """Return a sealed round's labels, refusing a file that is not the one it sealed."""
        folder = self.round_uri(number)
        expected = _read(self._seal_uri(number), _SEALED)["labels_sha256"]
        uri = _labels_uri(folder, expected)
        text = storage.read_bytes(uri)
        if hashlib.sha256(text).hexdigest() != expected:
            raise InputError(f"{uri}: changed since its round was sealed; valid: a run_name of its own")
        return read_labels(text)

    def keep_classifier(self, number: int, folder: Path) -> None:
        """Keep a round's finished classifier, or take into the folder the one that another pod kept before.

        A pod that was given up may work on: the weights lie under their hash and the JSON, sent last, is
        create-only, so that no attempt undoes what another one's round was sealed with. Half of one, as a
        power cut may leave it, is replaced while the round is open.
        """
        about, kept = (folder / ABOUT).read_bytes(), storage.join(self.round_uri(number), ABOUT)
        while True:
            before = storage.read_versioned(kept)[1] if storage.exists(kept) else ""
            if before and self.fetch_classifier(number, folder):
                return
            if storage.exists(self._seal_uri(number)):
                raise self._not_sealed(number)
            storage.upload(folder / WEIGHTS, self._weights_uri(number, about))
            if storage.replace(kept, about, before) if before else storage.create(kept, about):
                return

    def fetch_classifier(self, number: int, folder: Path) -> bool:
        """Copy a round's kept classifier to a folder; False, and nothing changes, where none is whole."""
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            try:
                about = storage.read_bytes(storage.join(self.round_uri(number), ABOUT))
                storage.download(self._weights_uri(number, about), place / WEIGHTS)
            except FileNotFoundError:
                return False
            (place / ABOUT).write_bytes(about)
            if weights_digest(place / ABOUT) is None:
                return False
            folder.mkdir(parents=True, exist_ok=True)
            for member in (WEIGHTS, ABOUT):
                shutil.move(place / member, folder / member)
        return True

    def _weights_uri(self, number: int, about: bytes) -> str:
        digest = str(described(about).get("digest", ""))
        return storage.join(self.round_uri(number), f"classifier-{digest[:16]}.safetensors")

    def publish(self, name: str, folder: Path) -> None:
        """Put a finished classifier where others take it from, its JSON last."""
        for member in (WEIGHTS, ABOUT):
            storage.upload(folder / member, storage.join(self.uri, PUBLISHED, name, member))

    def fetch_sealed(self, entry: Round, folder: Path) -> None:
        """Copy a sealed round's classifier to a folder, refusing one that is not what the round sealed."""
        whole = self.fetch_classifier(entry["round"], folder)
        about = json.loads((folder / ABOUT).read_text()) if whole else {}
        # The JSON as well: it holds the temperature, and who was seen.
        if (
            about.get("digest") != entry["classifier_digest"]
            or digest_of(about) != entry["classifier_record"]
        ):
            raise self._not_sealed(entry["round"])

    def _not_sealed(self, number: int) -> InputError:
        return InputError(
            f"{self.round_uri(number)}: its classifier is missing, or changed since its round was sealed;"
            " valid: a run_name of its own"
        )

    def digest(self) -> str:
        """Return the hash of all sealed rounds."""
        return hashlib.sha256(json.dumps(self.rounds(), sort_keys=True).encode()).hexdigest()

    def fetch_rounds(self, folder: Path, digest: str) -> dict[str, Path]:
        """Copy the classifiers of all sealed rounds, of that digest; return their folders by model name."""
        if self.digest() != digest:
            raise InputError(
                f"{self.uri}: its rounds changed since they were closed; valid: submit the run again"
            )
        fetched = {}
        for entry in self.rounds():
            name = model_name(entry["round"])
            self.fetch_sealed(entry, folder / name)
            fetched[name] = folder / name
        return fetched


def _differences(record: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return in a reader's words what two runs differ in: parameters by name, else volumes or code."""
    named = _differing(known.get("parameters", {}), record.get("parameters", {}))
    if record.get("snapshot_digest") != known.get("snapshot_digest"):
        named.append("volumes")
    if moved := _moved(known.get("sides", {}), record.get("sides", {})):
        named.append(f"sides of patients {moved}")
    return named or ([] if record == known else ["code"])


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return [f"{name} ({before.get(name)}, now {now.get(name)})" for name in names]


def _moved(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return in words the patients whose side is another one now."""
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return ", ".join(f"{name} ({before.get(name, 'none')}, now {now.get(name, 'none')})" for name in names)


def _read(uri: str, shape: stored_json.Shape) -> Any:
    return stored_json.read(uri, shape, "a copy of what it was, or a new run_name")


def write_labels(rows: Sequence[LabelRow]) -> bytes:
    """Return labels as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(field.name for field in fields(LabelRow))
    writer.writerows(astuple(row) for row in rows)
    return buffer.getvalue().encode()


def read_labels(text: bytes) -> list[LabelRow]:
    """Read labels from CSV."""
    lines = csv.DictReader(io.StringIO(text.decode()))
    return [
        LabelRow(
            image=line["image"],
            label=line["label"],
            confidence=float(line["confidence"]),
            status=line["status"],
        )
        for line in lines
    ]


def _labels_uri(folder: str, digest: str) -> str:
    return storage.join(folder, f"labels-{digest[:16]}.csv")
