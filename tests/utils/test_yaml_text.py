"""YAML is read as plain values, in bounded time, or refused as no YAML."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_aqa.utils.yaml_text import MOST_LETTERS, MOST_VALUES, read_yaml


def test_aliases_count_as_often_as_they_stand():
    thousand = f"a: &a [{', '.join('x' * 1000)}]\n"
    assert len(read_yaml(f"{thousand}b: [{', '.join(['*a'] * 90)}]")["b"]) == 90
    with pytest.raises(yaml.YAMLError, match=f"more than {MOST_VALUES} values"):
        read_yaml(f"{thousand}b: [{', '.join(['*a'] * 100)}]")
    assert read_yaml("base: &b {x: 1}\nmine: {<<: *b, y: 2}")["mine"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("text", ["[" * 200 + "]" * 200, "- " * 200 + "1", "? " * 200 + "1", "x" * (MOST_LETTERS + 1)])
def test_depth_and_length_are_bounded(text):
    with pytest.raises(yaml.YAMLError, match=r"nested more than 100 levels deep|letters; at most"):
        read_yaml(text)


@settings(max_examples=200)
@given(st.text(alphabet="&*ab:-[]{},?\n '\"#!<9.", max_size=160))
def test_any_text_is_read_as_ever_or_is_no_yaml(text):
    try:
        found = read_yaml(text)
    except yaml.YAMLError:
        return
    assert repr(found) == repr(yaml.safe_load(text))
