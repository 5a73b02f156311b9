import pytest
import torch

from lightning_aqa.objectives.embedding_memory import EmbeddingMemory


def numbered(*numbers):
    """Clips whose embedding and score tell them apart."""
    values = torch.tensor(numbers, dtype=torch.float32)
    return torch.stack([values, -values], 1), values[:, None]


def filled(size, *pushes):
    memory = EmbeddingMemory(size)
    for numbers in pushes:
        memory.push(*numbered(*numbers))
    return memory


def test_memory_is_empty_at_first():
    assert len(EmbeddingMemory(3)) == 0


@pytest.mark.parametrize(
    ("pushes", "kept"),
    [
        ([(1, 2)], [1, 2]),
        ([(1, 2), (3,)], [1, 2, 3]),
        ([(1, 2), (3,), (4, 5, 6)], [3, 4, 5, 6]),
        ([(1, 2), (3, 4, 5, 6)], [3, 4, 5, 6]),
        ([(1, 2), (3, 4, 5, 6, 7, 8)], [5, 6, 7, 8]),
        ([(1, 2, 3, 4, 5)], [2, 3, 4, 5]),
        ([(1, 2), ()], [1, 2]),
    ],
)
def test_memory_keeps_the_newest_oldest_first(pushes, kept):
    memory = filled(4, *pushes)
    embedding, scores = numbered(*kept)
    assert torch.equal(memory.embedding, embedding)
    assert torch.equal(memory.scores, scores)


def test_memory_does_not_keep_the_graph_or_share_the_storage_of_what_it_is_given():
    memory, (embedding, scores) = EmbeddingMemory(2), numbered(1, 2)
    memory.push(embedding.requires_grad_(), scores)
    with torch.no_grad():
        embedding.zero_()
    assert not memory.embedding.requires_grad
    assert memory.embedding[:, 0].tolist() == [1.0, 2.0]


def test_memory_follows_the_dtype_and_device_of_the_last_push():
    memory = filled(4, (1, 2))
    memory.push(*(tensor.double() for tensor in numbered(3)))
    assert memory.embedding.dtype == torch.float64
    assert memory.scores.flatten().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("pushes", [[], [(1, 2)], [(1, 2), (3, 4, 5)]])
def test_memory_survives_a_checkpoint_loaded_with_weights_only(tmp_path, pushes):
    memory, restored = filled(4, *pushes), EmbeddingMemory(4)
    torch.save(memory.state_dict(), tmp_path / "state.pt")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (memory, restored):
        one.push(*numbered(6, 7))
    assert torch.equal(memory.embedding, restored.embedding)
    assert torch.equal(memory.scores, restored.scores)


def test_memory_state_holds_no_more_than_its_contents():
    state = filled(3, (1, 2, 3, 4, 5, 6, 7)).state_dict()
    assert state["embedding"].untyped_storage().nbytes() == 3 * 2 * 4


def test_memory_keeps_the_newest_of_a_larger_state():
    smaller = EmbeddingMemory(2)
    smaller.load_state_dict(filled(4, (1, 2, 3, 4)).state_dict())
    assert smaller.scores.flatten().tolist() == [3.0, 4.0]


def test_memory_refuses_what_does_not_fit():
    memory = filled(4, (1, 2))
    with pytest.raises(ValueError, match="got 1 embeddings and 2 rows of scores"):
        memory.push(torch.zeros(1, 2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="holds rows of 2 values and was given rows of 5"):
        memory.push(torch.zeros(1, 5), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        EmbeddingMemory(0)
