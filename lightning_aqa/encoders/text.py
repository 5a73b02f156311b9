"""Prompts alone, by RoBERTa or another text model of the hub: a text side for any audio encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_aqa.batch import Features
from lightning_aqa.encoders.base import Encoder
from lightning_aqa.encoders.huggingface_files import find, layers_of, load_backbone, load_config
from lightning_aqa.encoders.tokenizer import distinct, find_tokenizer
from lightning_aqa.utils.weights import Weights

FROM_TWO = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"}
"""Model types whose first position is number 2, so that they read two tokens fewer than they have positions."""


class TextEncoder(Encoder):
    """Encode prompts by the last hidden states of a text model; audio is not read, so its width is 0.

    Beside an audio encoder it adds the text states that heads such as cross-attention read; alone, it shows what can
    be guessed from the prompts without listening. An empty prompt is encoded as an empty sentence, so that heads always
    find a valid token; without prompts there is no text. Equal prompts of a batch are encoded once.

    Args:
        name_or_path: Hub id, or folder with ``config.json``, the weights and the tokeniser.
        max_tokens: Tokens after which a prompt is cut, its first and last included.

    Raises:
        WeightsError: If the files are not found, are not safe, or are not weights of the model they name.
        ValueError: If the model cannot read that many tokens.
    """

    published = (
        Weights(
            "FacebookAI/roberta-base",
            ("model.safetensors", "config.json", "tokenizer.json"),
            "https://huggingface.co/FacebookAI/roberta-base",
            "MIT",
        ),
    )
    sample_rate, width, num_layers, text_width = 16000, 0, 1, 768

    def __init__(self, name_or_path: str = published[0].checkpoint, max_tokens: int = 128) -> None:
        from transformers import AutoTokenizer

        super().__init__()
        folder, config = find(name_or_path, "config.json").parent, load_config(name_or_path)
        positions = getattr(config, "max_position_embeddings", max_tokens) - 2 * (config.model_type in FROM_TWO)
        if not 2 <= max_tokens <= positions:
            raise ValueError(f"max_tokens must be between 2 and the {positions} that {folder} reads, got {max_tokens}.")
        self.max_tokens, self.text_width = max_tokens, int(config.hidden_size)
        self.model = load_backbone(config, name_or_path, optional="pooler")
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # heads read token states, and checkpoints of pre-training have none
        location = find_tokenizer([str(folder), name_or_path])
        self._tokenizer = AutoTokenizer.from_pretrained(
            location, config=config, local_files_only=True, trust_remote_code=False
        )
        self._tokenizer.padding_side = "right"

    def layers_in_order(self) -> Sequence[nn.Module]:
        """Return the transformer layers."""
        return layers_of(self.model, int(self.model.config.num_hidden_layers))

    def forward(self, waveform: Tensor, num_samples: Tensor, prompts: Sequence[str] | None = None) -> Features:
        """Encode prompts; of the audio only the number of clips matters."""
        layers_BLFD = waveform.new_zeros(len(waveform), 1, 1, 0, dtype=torch.float32)
        frame_mask_BF = torch.ones(len(waveform), 1, dtype=torch.bool, device=waveform.device)
        if prompts is None:
            return Features(layers_BLFD, frame_mask_BF)
        return Features(layers_BLFD, frame_mask_BF, *self._encode(prompts, waveform.device))

    def _encode(self, prompts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return token states ``(B, W, D_text)`` and their mask ``(B, W)``."""
        texts, rows = distinct(prompts)
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        ids_PW, mask_PW = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        states_PWD = self.model(input_ids=ids_PW, attention_mask=mask_PW).last_hidden_state.float()
        rows_B, valid_PW = torch.tensor(rows, device=device), mask_PW.bool()
        return states_PWD.masked_fill(~valid_PW[..., None], 0.0)[rows_B], valid_PW[rows_B]
