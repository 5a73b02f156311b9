"""Prepare prompts. Files of a tokeniser are found first: transformers would make an empty one where there are none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_aqa.utils.weights import FOLDER, WeightsError, find_weights, hub_page

# Each of these is enough to build a tokeniser from.
FILES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
)


def find_tokenizer(locations: Sequence[str]) -> Path:
    """Return the first folder that holds a tokeniser.

    Looked for in each location as a folder, in the same below the folder that ``LIGHTNING_AQA_WEIGHTS`` names, and then
    for the last location as a hub id, in the hub's cache and, unless offline, on the hub.

    Raises:
        WeightsError: If there is none; the message has the file, its address and the command that fetches it.
    """
    roots = [Path()] + ([Path(os.environ[FOLDER])] if os.environ.get(FOLDER) else [])
    for folder in (root / location for location in locations for root in roots):
        if any(all((folder / name).is_file() for name in names) for names in FILES):
            return folder
    name = "FacebookAI/roberta-base" if locations[-1] == "roberta-base" else locations[-1]
    try:
        return find_weights(name, file="tokenizer.json", url=hub_page(name)).parent
    except WeightsError as error:
        raise WeightsError(f"Prompts need the tokeniser {locations[-1]}, which is not here. {error}") from None


def distinct(prompts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the different prompts and, for each prompt, which of them it is.

    Example:
        >>> distinct(["drums", "", "drums"])
        (['drums', ''], [0, 1, 0])
    """
    texts = list(dict.fromkeys(prompts))
    return texts, [texts.index(prompt) for prompt in prompts]
