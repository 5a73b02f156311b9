import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_aqa.batch import Axis
from lightning_aqa.encoders.text import TextEncoder
from lightning_aqa.encoders.tokenizer import find_tokenizer
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.utils.weights import WeightsError

PROMPTS = ["loud drums", "", "Rain on a tin roof, far away.", "loud drums"]
CLIPS = torch.zeros(4, 10), torch.full((4,), 10)


@pytest.fixture(scope="module")
def folder(text_folder):
    return text_folder


@pytest.fixture(scope="module")
def encoder(folder):
    return TextEncoder(str(folder), max_tokens=16).eval()


def test_text_is_the_last_hidden_state_of_transformers(encoder, folder):
    from transformers import RobertaModel, RobertaTokenizer

    tokens = RobertaTokenizer.from_pretrained(folder)(PROMPTS[0], return_tensors="pt")
    model = RobertaModel.from_pretrained(folder, add_pooling_layer=False).eval()
    expected = model(**tokens).last_hidden_state[0]
    _, _, text, text_mask = encoder(*CLIPS, PROMPTS)
    assert text_mask[0].sum() == len(expected)
    torch.testing.assert_close(text[0, : len(expected)], expected, atol=1e-6, rtol=0)
    assert torch.equal(text[0], text[3])


def test_shapes_masks_and_zeros_are_those_of_the_contract(encoder):
    layers, frame_mask, text, text_mask = encoder(*CLIPS, PROMPTS)
    assert layers.shape == (4, encoder.num_layers, 1, encoder.width) == (4, 1, 1, 0)
    assert frame_mask.all()
    assert text.shape == (*text_mask.shape, encoder.text_width)
    assert text_mask.sum(dim=1)[1] == 2  # <s> and </s> of an empty prompt
    assert text_mask.sum(dim=1).max() == text_mask.shape[1] <= 16
    assert not text[~text_mask].any()


def test_a_prompt_does_not_depend_on_its_batch_mates(encoder):
    together = encoder(*CLIPS, PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        alone = encoder(CLIPS[0][:1], CLIPS[1][:1], [prompt])
        valid = together.text_mask[index]
        torch.testing.assert_close(alone.text[0], together.text[index, valid], atol=1e-5, rtol=0)


def test_without_prompts_there_is_no_text(encoder):
    assert encoder(*CLIPS).text is None


def test_a_head_can_read_prompts_alone(encoder):
    head = MLP(encoder.width, encoder.num_layers, [Axis("TA", "Textual alignment", 1, 5)], encoder.text_width)
    scores = head(encoder(*CLIPS, PROMPTS)).scores
    assert scores.shape == (4, 1)
    assert scores.isfinite().all()


def test_every_parameter_receives_a_gradient(folder):
    encoder = TextEncoder(str(folder), max_tokens=16).train()
    text = encoder(*CLIPS, PROMPTS).text
    (text * torch.randn_like(text)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def _copy(folder, target, weights):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (target / name).write_text((folder / name).read_text())
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return str(target)


def test_missing_and_unexpected_weights_are_named(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    name = "roberta.encoder.layer.1.output.dense.bias"
    weights[name.replace("layer.1", "layer.7")] = weights.pop(name)
    with pytest.raises(WeightsError, match=r"1 missing: encoder.layer.1.*; 1 unexpected: .*layer.7"):
        TextEncoder(_copy(folder, tmp_path, weights), max_tokens=16)


def test_a_folder_without_a_tokeniser_is_refused(folder, tmp_path):
    _copy(folder, tmp_path, load_file(folder / "model.safetensors"))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokeniser .*, which is not here.*tokenizer\.json"):
        TextEncoder(str(tmp_path), max_tokens=16)


def test_more_tokens_than_the_model_reads_are_refused(folder):
    with pytest.raises(ValueError, match="between 2 and the 128 that"):
        TextEncoder(str(folder), max_tokens=129)


def test_a_tokeniser_is_found_in_the_first_place_that_has_one(tmp_path, monkeypatch):
    (tmp_path / "weights" / "bert").mkdir(parents=True)
    (tmp_path / "weights" / "bert" / "vocab.txt").write_text("[PAD]")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "vocab.json").write_text(json.dumps({}))
    monkeypatch.setenv("LIGHTNING_AQA_WEIGHTS", str(tmp_path / "weights"))
    assert find_tokenizer([str(tmp_path / "half"), "bert"]) == tmp_path / "weights" / "bert"
