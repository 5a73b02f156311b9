"""A line per corpus around a head."""

import csv

import pytest
import torch

from lightning_aqa.batch import Axis, Batch, Features
from lightning_aqa.cli.main import main
from lightning_aqa.heads.mlp import MLP
from lightning_aqa.heads.ordinal import Ordinal
from lightning_aqa.heads.per_corpus import PerCorpus

AXES = [Axis("q", "Quality", 1, 5), Axis("loud", "Loudness", 1, 5)]
NAN = float("nan")


def rows(domains, scores):
    count, empty = len(domains), torch.zeros(len(domains), 0)
    names = [str(i) for i in range(count)]
    batch = Batch(empty, torch.zeros(count).long(), torch.tensor(scores), names, names, list(domains), names)
    generator = torch.Generator().manual_seed(0)
    return Features(torch.randn(count, 1, 3, 4, generator=generator), torch.ones(count, 3, dtype=torch.bool)), batch


def linear(width, num_layers, axes, text_width=None):
    return MLP(width, num_layers, axes, text_width, hidden=[], dropout=0.0)


def test_lines_act_in_training_alone_and_are_of_the_mean_corpus():
    head = PerCorpus(4, 1, AXES, head=linear, corpora=["a", "b"])
    head.fit_scale(torch.tensor([3.0, 3.0]), torch.tensor([1.0, 1.0]))
    with torch.no_grad():
        head.offset_CA.copy_(torch.tensor([[0.5, 1.0], [-0.1, 7.0]]))
    features, batch = rows(["a/x", "b"], [[3.0, 2.0], [3.0, NAN]])
    head.train()
    moved = head.forward_rows(features, batch).scores - head(features).scores
    assert moved[:, 0].tolist() == pytest.approx([0.3, -0.3], abs=1e-6)  # their mean is taken off
    assert moved[:, 1].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)  # b does not rate it: a has no line either
    head.eval()
    assert torch.equal(head.forward_rows(features, batch).scores, head(features).scores)


def test_the_bias_of_two_panels_is_learned():
    domains = ["a", "b"] * 30
    features, _ = rows(domains, [[0.0, 0.0]] * 60)
    quality = 3 + 0.8 * features.layers.mean((1, 2))[:, 0]
    given = quality + torch.tensor([0.6, -0.6] * 30)
    _, batch = rows(domains, torch.stack([given, torch.full_like(given, NAN)], dim=1).tolist())
    head = PerCorpus(4, 1, AXES, head=linear, corpora=["a", "b"]).train()
    head.fit_scale(torch.tensor([3.0, 3.0]), torch.tensor([1.0, 1.0]))
    head.fit_features([features])
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(250):
        loss = (head.forward_rows(features, batch).scores[:, 0] - given).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = head.eval()(features).scores[:, 0]
    assert (found - quality).abs().max() < 0.1
    offset = (head.offset_CA[0] - head.offset_CA[1])[0].item()
    assert offset == pytest.approx(1.2, abs=0.1)


def test_what_it_cannot_map_is_said():
    features, batch = rows(["a", "c"], [[3.0, 2.0], [3.0, 2.0]])
    with pytest.raises(ValueError, match="corpora names a, b, and a training clip is of c; name all"):
        PerCorpus(4, 1, AXES, corpora=["a", "b"]).train().forward_rows(features, batch)
    with pytest.raises(ValueError, match="Ordinal is trained by its logits"):
        PerCorpus(4, 1, AXES, head=Ordinal, corpora=["a", "c"]).train().forward_rows(features, batch)


def test_a_run_is_evaluated_and_scored_on_the_scale_of_the_mean_corpus(fit, corpora, tmp_path):
    words = ["--data=AESNatural", f"--data.root={corpora['aes_natural']}", "--data.num_workers=0"]
    head = ["--model.head=PerCorpus", "--model.head.by=domain", "--model.head.corpora=[music,sound,speech]"]
    head += ["--model.head.head=MLP", "--model.head.head.hidden=[]"]
    run = fit(*words, *head, "--model.encoder=Descriptors", epochs=2)
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert state["head.offset_CA"].abs().max() > 0
    with open(run / "predictions.csv", newline="") as file:
        wanted = {row["id"]: float(row["score"]) for row in csv.DictReader(file) if row["axis"] == "PQ"}
    audio = corpora["aes_natural"] / "audiomos2025-track2-eval-phase" / "DATA" / "wav"
    assert main(["score", str(run), str(audio), f"--output={tmp_path / 'scores.csv'}"]) == 0
    with open(tmp_path / "scores.csv", newline="") as file:
        found = {row["path"].rsplit("/", 1)[-1].removesuffix(".wav"): float(row["PQ"]) for row in csv.DictReader(file)}
    assert found == pytest.approx({name: wanted[name] for name in found}, abs=1e-4)
