import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_what_is_lost_grows_as_the_share_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """At so low a resolution, where gradients are large, by shares far smaller than any batch's."""
    monkeypatch.syspath_prepend(FOLDER)
    gan_float16 = importlib.import_module("gan_float16")
    monkeypatch.setattr(gan_float16, "SHARES", (1.0, 2.0**-12, 2.0**-18))
    first, second, third = gan_float16.losses(16).values()
    assert 0 < first["b16"] < 0.02
    assert first["b16"] < second["b16"] < third["b16"]
    assert third["b4"] < 1e-3  # float32
