import hmac
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared import pseudonyms
from components.shared.faults import InputError
from components.shared.pseudonyms import Pseudonyms, folded, read_pseudonyms, require_same_key

KEY = b"0123456789abcdef"


@given(st.text(max_size=30), st.text(max_size=30))
def test_equal_names_have_equal_pseudonyms_and_others_others(one, other):
    names = Pseudonyms(KEY)
    assert (names.of("patient", one) == names.of("patient", other)) == (folded(one) == folded(other))


@given(st.text(max_size=30))
def test_how_accents_are_stored_changes_no_pseudonym(name):
    names = Pseudonyms(KEY)
    assert len({names.of("patient", normalize(form, name)) for form in ("NFC", "NFD")}) == 1


@pytest.mark.parametrize("kind", ["patient", "session"])
@pytest.mark.parametrize(
    ("one", "other"), [("sim01", "SIM01"), ("Straße", "STRASSE"), ("GARCÍA", "garci\u0301a")]
)
def test_capitals_change_no_pseudonym(kind, one, other):
    assert Pseudonyms(KEY).of(kind, one) == Pseudonyms(KEY).of(kind, other)


def test_a_pseudonym_is_an_hmac_under_the_key_and_tells_the_key_apart():
    name = Pseudonyms(KEY).of("patient", "p01")
    assert name.split("-")[1] == hmac.new(KEY, b"patient\0p01", "sha256").hexdigest()[:10]
    assert name.split("-")[0] == Pseudonyms(KEY).of("session", "s").split("-")[0]
    assert name.split("-")[0] != Pseudonyms(KEY + b"!").of("patient", "p01").split("-")[0]


def test_a_patient_and_a_session_of_one_name_are_two_things():
    assert Pseudonyms(KEY).of("patient", "p01") != Pseudonyms(KEY).of("session", "p01")


def test_a_state_makes_its_key_once_and_for_its_owner_alone(tmp_path):
    first = read_pseudonyms("", str(tmp_path))
    assert read_pseudonyms("", str(tmp_path)) == first != read_pseudonyms("", str(tmp_path / "other"))
    assert stat.S_IMODE((tmp_path / pseudonyms.KEY_FILE).stat().st_mode) == 0o600


def test_a_key_is_never_there_for_others_to_read(tmp_path, monkeypatch):
    """Not even between its making and a change of its mode: the umask lets all read what is new."""
    seen, link = [], os.link

    def watched(source, target):
        seen.append(stat.S_IMODE(source.stat().st_mode))
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    before = os.umask(0)
    try:
        read_pseudonyms("", str(tmp_path))
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert [path.name for path in tmp_path.iterdir()] == [pseudonyms.KEY_FILE]


def test_of_many_that_make_a_key_one_wins(tmp_path):
    start = threading.Barrier(8)

    def make(_):
        start.wait()
        return read_pseudonyms("", str(tmp_path))

    with ThreadPoolExecutor(8) as pool:
        assert len({each.key for each in pool.map(make, range(8))}) == 1


def test_a_given_key_wins_over_the_secret_and_the_secret_over_the_state(tmp_path, monkeypatch):
    secret, given_key = tmp_path / "secret", tmp_path / "given"
    secret.write_bytes(KEY)
    given_key.write_bytes(KEY[::-1] + b"\n")
    monkeypatch.setattr(pseudonyms, "SECRET", str(secret))
    assert read_pseudonyms("", str(tmp_path)) == Pseudonyms(KEY)
    assert read_pseudonyms(str(given_key), str(tmp_path)) == Pseudonyms(KEY[::-1])
    assert not (tmp_path / pseudonyms.KEY_FILE).exists()


def test_a_key_that_is_absent_or_short_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^pseudonym_key_uri=.*lost: no such file; valid: "):
        read_pseudonyms(str(tmp_path / "lost"), str(tmp_path))
    (tmp_path / "short").write_text("secret\n")
    with pytest.raises(InputError, match=r"^pseudonym_key_uri=.*short: 6 bytes; valid: .*16 bytes"):
        read_pseudonyms(str(tmp_path / "short"), str(tmp_path))


def test_patients_under_two_keys_are_not_compared():
    ours = {Pseudonyms(KEY).of("patient", name) for name in "ab"}
    theirs = {Pseudonyms(KEY[::-1]).of("patient", name) for name in "ab"}
    require_same_key(ours, ours, "model")
    require_same_key(ours, [], "model")
    with pytest.raises(InputError, match=r"^model: its patients are named under key .* valid: "):
        require_same_key(ours, theirs, "model")
