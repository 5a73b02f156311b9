"""``lightning-aqa publish``: a run as a model that others load by name, in a folder or on the hub."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_aqa.cli.signatures import call
from lightning_aqa.results.files import CARD

if TYPE_CHECKING:
    from lightning_aqa.scoring.published_encoders import EncoderOptions


def publish(
    run: str,
    *,
    to: str,
    license: str | None = None,
    corpus: str | None = None,
    corpus_license: str | None = None,
    encoder: list[str] | None = None,
    include_encoder: bool = False,
    encoder_license: str | None = None,
    ensemble: bool = False,
    private: bool = False,
) -> int:
    """Write a trained model with all that others need to use and judge it.

    Score and load take the folder, or the name on the hub, as they take a run folder, and give the same scores.

    Args:
        run: Run folder, folder of an ensemble, or, for the hub, a published model's folder.
        to: Folder to write, which must not be there or be empty, or ORG/MODEL for the hub; a path of two parts is a
            folder where its first part is one, and otherwise with ./ before it.
        license: Licence of the model, such as apache-2.0; by default the card says that it is not stated.
        corpus: Sentence about the data that it was trained on, for the card.
        corpus_license: Licence of that data; by default the card says that it is unknown.
        encoder: NAME=ORG/MODEL@REVISION, where others get an encoder that is a folder of this machine; may come several
            times.
        include_encoder: Copy the weights of pretrained encoders, where their licence allows it, in place of naming
            them.
        encoder_license: Licence of these weights, where the package does not know it.
        ensemble: Publish the mean of the models of a cross-validation's folds, in place of its refit.
        private: Make a new repository on the hub private.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If the run cannot be published, or there is something at the place already.
    """
    if not to.strip() or not run.strip():
        raise ValueError(f"--to={to}: a run and a place are needed; name a folder, or ORG/MODEL.")
    from lightning_aqa.scoring.published_encoders import EncoderOptions

    options = EncoderOptions.of(encoder or (), is_included=include_encoder, licence=encoder_license or "")
    hub = _hub_id(to)
    about = {"name": hub or Path(to).name, "licence": license, "corpus": corpus, "corpus_licence": corpus_license}
    if hub is None:
        _write(run, Path(to), about, options, ensemble=ensemble)
        print(f"read {Path(to) / CARD} before you hand it on.")
    else:
        to = _upload(run, hub, about, options, ensemble=ensemble, is_private=private)
    print(f"to score clips: python -m lightning_aqa score {shlex.quote(to)} CLIPS")
    return 0


def _hub_id(to: str) -> str | None:
    """Return the hub id that a place is, or None for a folder."""
    from lightning_aqa.utils.weights import is_hub_id

    if not is_hub_id(to) or to.endswith("/") or Path(to).parent.is_dir():
        return None
    if "@" in to:
        raise ValueError(f"--to={to}: the hub itself names the revision; leave out what follows the @.")
    return to


def _write(run: str, folder: Path, about: Mapping[str, str | None], options: EncoderOptions, *, ensemble: bool) -> None:
    """Write a run to a folder, and say what is in it."""
    from lightning_aqa.report.card import write_card
    from lightning_aqa.scoring.publishing import write_published

    record = write_published(run, folder, about, write_card, options, ensemble=ensemble)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{about['name']}: {size / 1e6:.1f} MB, scores as {run} does.")
    for use in {use["name"]: use for of in record["models"] for use in of["encoders"]}.values():
        at = f", revision {use['revision'] or 'unknown'}" if use["weights"] == "named" else ""
        print(f"encoder {use['name']}{at}: {use['weights']}, licence {use['licence'] or 'unknown'}.")
    options_of = {"--license": "licence", "--corpus_license": "corpus_licence", "--corpus": "corpus"}
    untold = [option for option, name in options_of.items() if not about[name]]
    if untold:
        print(f"the card can say more by {', '.join(untold)}.")


def _upload(
    run: str,
    hub: str,
    about: Mapping[str, str | None],
    options: EncoderOptions,
    *,
    ensemble: bool,
    is_private: bool,
) -> str:
    """Put a run, or a published model's folder, on the hub; return the name of what is there now."""
    from lightning_aqa.scoring.hub import check_owner, upload
    from lightning_aqa.scoring.published import is_published
    from lightning_aqa.scoring.publishing import renamed_copy

    check_owner(hub)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "model"
        if is_published(Path(run)):
            folder.mkdir()
            renamed_copy(Path(run), folder, hub)
        else:
            _write(run, folder, about, options, ensemble=ensemble)
        commit = upload(folder, hub, is_private=is_private)
    return f"{hub}@{commit}"


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(publish, args)
