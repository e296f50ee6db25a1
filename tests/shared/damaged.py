"""What a full disk or a hand leaves of a JSON object: half of it, no text, other JSON."""

DAMAGED = [b"", b"{", b'{"a": 1', b"\xff\xfe", b"[]", b"5", b"null", b"[1]", b'"text"', b"{}", b'{"a": 1}']
