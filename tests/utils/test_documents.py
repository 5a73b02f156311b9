"""JSON and YAML of unknown origin: plain values, or one ValueError that names the file, in bounded time."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.utils.documents import read_json, read_yaml

DIGITS = "9" * 5000
ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
BAD_YAML = [ALIASES, MERGES, "[" * 100_000, "{a: " * 100_000, f"a: {DIGITS}", "&a [*a]", "a: 2020-13-45", "a: b: c",
            "\0", "a: !!python/object/apply:os.system [true]", "a: !!int ''", "a: !!timestamp x",
            "a: !!bool q", "{[a]: b}"]  # fmt: skip
BAD_JSON = ["", "{", "[" * 100_000, '{"a":' * 100_000, f'{{"a": {DIGITS}}}', "\0", "[1,]", "{'a': 1}"]


@pytest.mark.parametrize(("read", "text"), [(read_yaml, t) for t in BAD_YAML] + [(read_json, t) for t in BAD_JSON])
def test_hostile_text_is_one_short_error_with_the_file(tmp_path, read, text):
    (tmp_path / "x").write_text(text)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"/x: not (YAML|JSON)") as caught:
        read(tmp_path / "x")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_what_is_no_file_of_text_is_said(tmp_path, read):
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "link").symlink_to("nowhere")
    for name, message in (
        ("folder", "a folder"),
        ("bytes", "not UTF-8"),
        ("link", "cannot be read"),
        ("no", "cannot be"),
    ):
        with pytest.raises(ValueError, match=rf"/{name}: {message}"):
            read(tmp_path / name)


@given(st.binary(max_size=60) | st.text('{}[]":,-&*!<>|%@? \n\t1e.~', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    for read in (read_yaml, read_json):
        with suppress(ValueError):
            read(tmp_path / "x")
