"""The last word on a study: an arm that failed fails the run, after the report of the others is safe."""

from collections.abc import Mapping
from typing import Any

from components.shared.faults import InputError


def settle(study: Mapping[str, Any], report_uri: str) -> None:
    """Raise InputError where a cell has no result, naming the first of them and where the report is."""
    failed = study["failed"]
    if failed:
        raise InputError(
            f"{len(failed)} of {len(failed) + len(study['cells'])} cells failed, {failed[0]['cell']}:"
            f" {failed[0]['reason']}; the report of the others is {report_uri}/report.html; valid: the same"
            " study again, which does only what is missing"
        )
