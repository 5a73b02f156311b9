"""A part that is swapped by one word starts from its own defaults; what the user sets counts."""

import pytest
import yaml

from lightning_aqa.cli.main import main
from lightning_aqa.cli.overrides import with_own_defaults
from lightning_aqa.encoders.beats import BEATs
from lightning_aqa.utils.components import import_parts

CLAP = "lightning_aqa.encoders.clap.CLAP"
RESETS = ["--model.encoder.checkpoint=BEATs_iter3_plus_AS2M.pt", "--model.encoder.config=null"]


@pytest.fixture
def config(tmp_path):
    """A config with a CLAP that has settings, some of which BEATs has too."""
    import_parts()
    path = tmp_path / "clap.yaml"
    settings = "{checkpoint: mine.pt, text: false, config: {a: 1}}"
    path.write_text(f"model:\n  encoder:\n    class_path: {CLAP}\n    init_args: {settings}\n  head: MLP\n")
    return ["fit", "--config", str(path)]


@pytest.mark.parametrize("name", ["BEATs", f"{BEATs.__module__}.BEATs"])
def test_shared_settings_are_reset_and_those_of_the_user_come_after(config, name):
    own = ["--model.encoder.checkpoint=other.pt", "--data.batch_size=2"]
    swap = f"--model.encoder={name}"
    assert with_own_defaults([*config, swap, *own]) == [*config, swap, *RESETS, *own]


def test_the_name_may_be_a_word_of_its_own_and_the_config_too(config):
    words = ["fit", f"--config={config[2]}", "--model.encoder", "BEATs"]
    assert with_own_defaults(words) == [*words, *RESETS]


@pytest.mark.parametrize(
    "word", ["--model.encoder=CLAP", f"--model.encoder={CLAP}", "--model.encoder=Beats", "--model.head=AESANet"]
)
def test_nothing_is_reset_for_the_same_class_an_unknown_one_or_a_part_without_settings(config, word):
    assert with_own_defaults([*config, word]) == [*config, word]


def test_without_a_config_and_with_a_broken_one_the_words_stay(tmp_path):
    import_parts()
    (tmp_path / "broken.yaml").write_text("model: [")
    for words in (["fit"], ["fit", "--config", str(tmp_path / "broken.yaml")], ["fit", "--config", "missing.yaml"]):
        assert with_own_defaults([*words, "--model.encoder=BEATs"]) == [*words, "--model.encoder=BEATs"]


@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_variant_is_read_after_the_configs_and_before_the_flags_wherever_it_stands(
    place, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("patience: 1\nmonitor: val/loss\nobjectives: {huber: Regression}\n")
    (tmp_path / "variant.yaml").write_text("patience: 2\nname: v\nobjectives: {qamro: QAMRO}\n")
    words = ["fit", "--config", "base.yaml", "--name=flag", "--data=MusicEval", "--data.root=x"]
    words.insert(place, "--variant=variant.yaml")
    main([*words, "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["patience"], config["monitor"], config["variant"]) == (2, "val/loss", "variant.yaml")
    assert config["name"] == "flag"
    assert list(config["objectives"]) == ["qamro"]
