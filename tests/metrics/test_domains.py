"""Domains and the parts of them."""

from hypothesis import given
from hypothesis import strategies as st

from lightning_aqa.metrics.domains import named_domains, rows_by_domain
from lightning_aqa.metrics.levels import evaluate

DOMAINS = st.lists(st.sampled_from(["", "a", "a/x", "a/y", "ab", "b/x", "b/x/y", "/", "a/"]), max_size=12)


@given(DOMAINS)
def test_each_clip_is_in_its_domain_and_in_what_that_is_a_part_of(domains):
    rows = rows_by_domain(domains)
    assert list(rows) == ["", *named_domains(domains)]
    assert rows[""].tolist() == list(range(len(domains)))
    for i, domain in enumerate(domains):
        inside = {name for name, found in rows.items() if name and i in found}
        assert inside == {name for name in rows if name and (domain == name or domain.startswith(f"{name}/"))}
        assert domain in rows
        assert domain in inside or not domain


def test_results_have_a_table_per_corpus_and_per_domain_in_it():
    domains = ["a/x", "a/y", "b", "a/x"]
    found = evaluate("klmn", [""] * 4, domains, [[1.0], [2.0], [3.0], [4.0]], [[1.0], [2.0], [4.0], [4.0]], ["q"])
    counts = {name: levels["utterance"]["q"]["n"] for name, levels in found["domains"].items()}
    assert counts == {"a": 3, "a/x": 2, "a/y": 1, "b": 1}
    assert found["domains"]["b"]["utterance"]["q"]["MSE"] == 1.0


def test_published_scores_of_other_systems_are_no_level():
    rows = ("kl", ["S1", "S2"], ["", ""], [[1.0], [2.0]], [[1.0], [2.0]], ["q"])
    assert "system_mos" in evaluate(*rows, {"S1": {"q": 1.0}})
    assert "system_mos" not in evaluate(*rows, {"other/S1": {"q": 1.0}})
