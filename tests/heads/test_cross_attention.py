import math

import pytest
import torch

from lightning_aqa.batch import Axis, Features
from lightning_aqa.heads.cross_attention import CrossAttention, choose_text_axes

MI, TA = Axis("MI", "Musical impression", 1, 5), Axis("TA", "Textual alignment", 1, 5)
AXES = [TA, MI]  # the axis of the text first, unlike in the head's own order
SIZES = {"attention_width": 4, "num_heads": 2, "hidden": 5}


def _features(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frame_mask = torch.arange(6) < torch.tensor([6, 1, 4])[:, None]
    text_mask = torch.arange(5) < torch.tensor([2, 5, 1])[:, None]
    layers = torch.randn(3, 2, 6, 3, generator=generator).masked_fill(~frame_mask[:, None, :, None], 0.0)
    text = torch.randn(3, 5, 7, generator=generator).masked_fill(~text_mask[..., None], 0.0)
    return Features(layers.to(dtype), frame_mask, text.to(dtype), text_mask)


def _shaken(axes=AXES, **options):
    """A head in which everything has an effect."""
    torch.manual_seed(0)
    head = CrossAttention(3, 2, axes, 7, **{**SIZES, **options})
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head.eval()


def test_a_word_that_looks_at_one_of_two_frames_takes_its_value():
    # Keys are the frames 1 and 0 times log 3, the query is 1: weights 3 : 1, so the word 2 hears .75 and becomes 2.75.
    attention = CrossAttention(1, 1, [TA], 1, attention_width=1, num_heads=1).attention
    attention.norm = torch.nn.Identity()  # of one number it would leave nothing
    with torch.no_grad():
        for layer in (attention.words, attention.frames, attention.attention.out_proj):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        attention.attention.in_proj_weight.copy_(torch.tensor([[0.5], [math.log(3.0)], [1.0]]))
        attention.attention.in_proj_bias.zero_()
    word, frames = torch.tensor([[[2.0]]]), torch.tensor([[[1.0], [0.0], [9.0]]])
    heard = attention(word, torch.ones(1, 1).bool(), frames, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(heard, torch.tensor([[[2.75]]]))


def test_scores_are_those_of_a_loop_over_clips_words_and_heads():
    head, features = _shaken().double(), _features(torch.float64)
    head.fit_scale(torch.tensor([3.0, 2.0]), torch.tensor([0.5, 0.7]))
    attention = head.attention
    weights, biases = (attention.attention.in_proj_weight.chunk(3), attention.attention.in_proj_bias.chunk(3))
    shares = head.mix.logits_L.softmax(0)
    for b, (frames, words) in enumerate([(6, 2), (1, 5), (4, 1)]):
        x = sum(share * features.layers[b, i, :frames] for i, share in enumerate(shares))
        w, v = attention.words(features.text[b, :words]), attention.frames(x)
        query, key, value = (m @ weight.T + bias for m, weight, bias in zip((w, v, v), weights, biases, strict=True))
        rows = []
        for n in range(words):
            heard = []
            for h in (slice(0, 2), slice(2, 4)):
                logits = torch.stack([query[n, h] @ key[f, h] / math.sqrt(2) for f in range(frames)])
                heard.append(sum(p * value[f, h] for f, p in enumerate(logits.softmax(0))))
            rows.append(attention.norm(w[n] + attention.attention.out_proj(torch.cat(heard))))
        audio = torch.cat([x.mean(0), x.std(0, correction=0).clamp(min=1e-4)])
        ta = head.text.last(head.text.trunk(torch.cat([sum(rows) / words, audio])))
        mi = head.audio.last(head.audio.trunk(audio))
        expected = torch.cat([3.0 + 0.5 * ta, 2.0 + 0.7 * mi])
        torch.testing.assert_close(head(features).scores[b], expected)


# Which axes read the text


@pytest.mark.parametrize(
    ("names", "text_axes", "expected"),
    [
        (["MI", "TA"], None, [False, True]),
        (["text_alignment", "overall"], None, [True, False]),
        (["PQ", "CE"], None, [True, True]),
        (["MI", "TA"], ["MI"], [True, False]),
        (["MI", "TA"], [], [False, False]),
    ],
)
def test_the_axes_that_read_the_text_are_named_or_found_by_their_name(names, text_axes, expected):
    assert choose_text_axes([Axis(name, name, 1, 5) for name in names], text_axes) == expected


def test_the_title_of_an_axis_tells_too():
    assert choose_text_axes([MI, Axis("q2", "Textual alignment", 1, 5)], None) == [False, True]


@pytest.mark.parametrize("text_axes", [None, ["MI"], ["MI", "TA"], []])
def test_the_text_moves_the_axes_that_read_it_and_no_other(text_axes):
    head, features = _shaken(text_axes=text_axes), _features()
    moved = (head(features).scores != head(features._replace(text=-features.text)).scores).all(dim=0)
    still = (head(features).scores == head(features._replace(text=-features.text)).scores).all(dim=0)
    wanted = ["TA"] if text_axes is None else text_axes
    assert moved.tolist() == [axis.name in wanted for axis in AXES]
    assert still.tolist() == [axis.name not in wanted for axis in AXES]


def test_a_head_that_leaves_the_text_out_has_no_attention_and_needs_no_text():
    head = CrossAttention(3, 2, AXES, None, text_axes=[])
    assert head.attention is None
    assert head(Features(*_features()[:2])).scores.shape == (3, 2)


# Invariances


@pytest.mark.parametrize("garbage", [1e6, math.nan, math.inf])
def test_padded_frames_and_words_change_neither_scores_nor_gradients(garbage):
    results = []
    for fill in (0.0, garbage):
        features, head = _features(), _shaken()
        layers = features.layers.masked_fill(~features.frame_mask[:, None, :, None], fill).requires_grad_()
        text = features.text.masked_fill(~features.text_mask[..., None], fill).requires_grad_()
        output = head(features._replace(layers=layers, text=text))
        (output.scores.sum() + output.embedding.square().sum()).backward()
        results.append((output.scores, output.embedding, layers.grad, text.grad))
    for clean, dirty in zip(*results, strict=True):
        torch.testing.assert_close(dirty, clean, atol=1e-5, rtol=0)


def test_the_order_of_frames_and_of_words_does_not_matter():
    head, features = _shaken(), _features()
    frames, words = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([4, 2, 0, 1, 3])
    shuffled = Features(
        features.layers[:, :, frames],
        features.frame_mask[:, frames],
        features.text[:, words],
        features.text_mask[:, words],
    )
    torch.testing.assert_close(head(shuffled).scores, head(features).scores, atol=1e-5, rtol=0)


def test_first_prediction_is_the_mean_of_the_training_scores():
    head = CrossAttention(3, 2, AXES, 7)
    head.fit_scale(torch.tensor([2.5, 3.5]), torch.tensor([0.5, 0.7]))
    assert torch.equal(head(_features()).scores, torch.tensor([[2.5, 3.5]] * 3))


def test_fitted_head_reads_frames_of_mean_zero_and_deviation_one():
    head = CrossAttention(3, 2, AXES, 7)
    full, words = torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 1, dtype=torch.bool)
    layers = 50 + 7 * torch.randn(2, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    batches = [Features(layers[i : i + 1], full[:1], torch.zeros(1, 1, 7), words[:1]) for i in range(2)]
    head.fit_features(batches)
    std, mean = torch.std_mean(head.standardise(head.mix(layers)).flatten(0, 1), dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, torch.ones(3))


def test_in_float64_all_is_float64_and_the_same():
    head = _shaken()
    single = head(_features())
    double = head.double()(_features(torch.float64))
    assert double.scores.dtype == double.embedding.dtype == torch.float64
    torch.testing.assert_close(double.scores.float(), single.scores, atol=1e-5, rtol=0)
    assert head(_features()).scores.dtype == torch.float64  # features from a cache are float32


# Gradient and messages


def test_gradients_match_finite_differences():
    head, features = _shaken().double(), _features(torch.float64)

    def scores(layers, text):
        return head(features._replace(layers=layers, text=text)).scores

    layers, text = features.layers.requires_grad_(), features.text.requires_grad_()
    assert torch.autograd.gradcheck(scores, (layers, text))


def test_alignment_of_words_and_frames_can_be_learned():
    # A clip fits its prompt where one of its frames is the word's; audio alone says nothing, nor does the prompt.
    torch.manual_seed(0)
    kinds = torch.eye(4).repeat_interleave(8, 0)
    others = torch.eye(4).roll(1, 0).repeat_interleave(8, 0)
    fits_B = torch.arange(32) % 2 == 0
    layers = torch.stack([torch.where(fits_B[:, None], kinds, others), torch.zeros(32, 4)], dim=1)[:, None]
    features = Features(layers, torch.ones(32, 2).bool(), kinds[:, None], torch.ones(32, 1).bool())
    targets_B1 = torch.where(fits_B[:, None], 4.0, 2.0)
    head = CrossAttention(4, 1, [TA], 4, attention_width=16, hidden=32, dropout=0.0)
    head.fit_scale(targets_B1.mean(0), targets_B1.std(0))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(60):
        loss = (head(features).scores - targets_B1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(head(features).scores, targets_B1, atol=0.3, rtol=0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"no text side; take one that has .*TextEncoder.* or set text_axes=\[\]"):
        CrossAttention(3, 2, AXES)
    with pytest.raises(ValueError, match="text_axes names Ta, but the axes are TA, MI"):
        CrossAttention(3, 2, AXES, 7, text_axes=["Ta", "MI"])
    with pytest.raises(ValueError, match=r"attends to audio, but the encoder gives none \(width 0\)"):
        CrossAttention(0, 1, AXES, 7)
    with pytest.raises(ValueError, match="attention_width must be a multiple of num_heads, got 10 and 4"):
        CrossAttention(3, 2, AXES, 7, attention_width=10)
    with pytest.raises(ValueError, match="each be at least 1, got 4, 1 and 0"):
        CrossAttention(3, 2, AXES, 7, attention_width=4, num_heads=1, hidden=0)
    with pytest.raises(ValueError, match=r"features hold none; give prompts or set text_axes=\[\]"):
        CrossAttention(3, 2, AXES, 7)(Features(*_features()[:2]))
    with pytest.raises(ValueError, match="features of the training clips, got none"):
        CrossAttention(3, 2, AXES, 7).fit_features([])


def test_with_bins_it_starts_at_the_distribution_of_the_training_scores_and_learns_from_the_words():
    head, features = CrossAttention(3, 2, AXES, 7, **SIZES, num_bins=9), _features()
    head.fit_scale(torch.tensor([3.0, 2.5]), torch.tensor([0.6, 0.7]))
    scores, _, _, _, logits, deviation = head(features)
    assert logits.shape == (3, 2, 9)
    bins = torch.linspace(1, 5, 9)
    for axis, (mean, std) in enumerate([(3.0, 0.6), (2.5, 0.7)]):
        share = (-((bins - mean) ** 2) / (2 * std**2)).softmax(0)
        torch.testing.assert_close(logits[0, axis].softmax(0), share)
        torch.testing.assert_close(scores[0, axis], share @ bins)
        torch.testing.assert_close(deviation[0, axis].square(), share @ (bins - share @ bins) ** 2)
    shaken = _shaken(num_bins=9)
    other = features._replace(text=features.text + 1.0)
    moved = (shaken(features).logits - shaken(other).logits).abs().amax(dim=(0, 2))
    assert moved[0] > 1e-3  # TA
    assert moved[1] == 0  # MI


def test_one_bin_is_refused():
    with pytest.raises(ValueError, match="num_bins must be at least 2, got 1"):
        CrossAttention(3, 2, AXES, 7, num_bins=1)
