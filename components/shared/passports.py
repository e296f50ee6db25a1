import json
from dataclasses import dataclass, asdict

PASSPORTS = "passports.json"
ACCEPT, SUSPECT, REFUSE = "accept", "suspect", "refuse"


@dataclass(frozen=True, kw_only=True)
class Passport:
    volume: str = ""
    patient: str = ""
    verdict: str = ACCEPT
    reason: str = ""
    sizes: tuple = ()

    @classmethod
    def parse(cls, v):
        return cls(**v)


def refused(entry, reason):
    return Passport(patient=entry.patient, verdict=REFUSE, reason=reason)


def accepted_or_suspect(entry, content, volume, anatomy, rows):
    return Passport(volume=content[:16], patient=entry.patient)


def write(path, p):
    path.write_text(json.dumps([asdict(x) for x in p]))


def read(path):
    return [Passport.parse(x) for x in json.loads(path.read_text())]
