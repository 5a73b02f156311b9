"""``lightning-aqa benchmark``: predictors side by side on every corpus at hand, a page and data to add to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_aqa.cli.signatures import call

if TYPE_CHECKING:
    from lightning_aqa.data.base import AQADataModule
    from lightning_aqa.data.recordings import Match
    from lightning_aqa.results.board import Entry

BOARD, PAGE = "board.json", "board.html"


def benchmark(
    predictors: list[str] | None = None,
    *,
    corpora: str | None = None,
    split: str = "test",
    merge: list[str] | None = None,
    output: str = "board",
) -> int:
    """Set predictors side by side on corpora: who is told apart, how fast, and which test clips training has seen.

    A predictor is a run folder, a checkpoint, a published model, or a table of scores; NAME=PATH names it. The clips of
    each corpus are looked up among those that a run folder was trained on: copies, and versions that were coded again,
    resampled, cut or made louder.

    Args:
        predictors: Predictors to compare; none joins scoreboards alone.
        corpora: YAML of corpora: their names, each with class_path and init_args as under data: of a config.
        split: Split of the clips, or ``all``; a corpus without a split test has all of its rated clips count.
        merge: Scoreboard of others, a board.json, to join; may be given several times.
        output: Folder to write: board.json and board.html. A board.json that is there is added to.

    Returns:
        Exit code 0.

    Raises:
        ValueError: If a corpus, a predictor or a scoreboard cannot be read.
    """
    given = predictors or []
    if bool(given) != bool(corpora) or not (given or merge):
        raise ValueError(
            "expected predictors and --corpora=corpora.yaml, or scoreboards to join by --merge=board.json."
        )
    if not output.strip() or (Path(output).exists() and not Path(output).is_dir()):
        raise ValueError(f"--output={output}: expected a folder, new or with a board.json to add to.")
    from lightning_aqa.report.board import write_board_page
    from lightning_aqa.results.board import joined, read_board, write_board

    folder = Path(output)
    boards = [(str(path), read_board(Path(path))) for path in merge or []]
    entries, notes = _measured(given, corpora, split) if corpora else ([], [])
    if (folder / BOARD).is_file():  # another run may have added to it meanwhile
        boards.append((str(folder / BOARD), read_board(folder / BOARD)))
    everything, more = joined([("now", entries), *boards])
    folder.mkdir(parents=True, exist_ok=True)
    write_board(folder / BOARD, everything)
    write_board_page(folder / PAGE, everything, [*notes, *more])
    for line in [*notes, *more]:
        print(line)
    print(f"{folder / PAGE}, {folder / BOARD}: {len(everything)} entries.")
    return 0


def _measured(predictors: Sequence[str], corpora: str, split: str) -> tuple[list[Entry], list[str]]:
    """Score every corpus by every predictor; return the entries and what has to be said of them."""
    from lightning_aqa.data.manifest import Clip
    from lightning_aqa.results.board import entries_of
    from lightning_aqa.scoring.benchmarking import (
        contamination,
        fingerprints,
        predict,
        ratings_of,
        shared,
        trained_clips,
    )

    named = _named(predictors)
    trained = {name: trained_clips(source) for name, source in named.items()}
    entries, notes = list[Any](), list[str]()
    for corpus, data in _read_corpora(Path(corpora)).items():
        rated = data.manifest.where(Clip.is_rated)
        clips = rated.split(split) if split in rated.splits else rated
        chosen = split if split in rated.splits else "all"
        if chosen != split:
            has = ", ".join(rated.splits)
            if split not in ("test", "all"):
                raise ValueError(f"{corpus} has no rated clip in split {split!r}; it has {has}. Name one, or all.")
            notes += [f"{corpus}: all {len(clips)} rated clips count, of the splits {has}."]
        predicted = [predict(name, source, clips, chosen) for name, source in named.items()]
        evidence = shared(clips, chosen, predicted)
        heard = fingerprints(list(clips)) if any(trained.values()) else []
        about = {of.name: dict(of.about) for of in predicted}
        for name, of in trained.items():
            if of:
                found, about[name]["contamination"] = contamination(heard, of)
                notes += _seen(corpus, name, found, len(clips))
        notes += [f"{corpus}: {note}" for note in evidence.notes]
        entries += entries_of(corpus, evidence, ratings_of(clips, evidence), about)
    return entries, notes


def _seen(corpus: str, name: str, found: Sequence[Match], count: int) -> list[str]:
    """Say how many test clips a training has seen, with the first of them; board.json has all."""
    if not found:
        return []
    first = found[0]
    return [
        f"{corpus}: {len(found)} of {count} clips are recordings that {name} was trained on, such as {first.clip} (a "
        f"{first.kind} of {first.other}); its numbers there are not those of new clips."
    ]


def _named(predictors: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for text in predictors:
        name, sign, source = text.partition("=")
        name, source = (name, source) if sign else (Path(text).stem or text, text)
        if not name.strip() or not source.strip() or name in named:
            raise ValueError(f"{text}: expected a predictor, or NAME=PATH with a name of its own for each.")
        named[name] = source
    return named


def _read_corpora(path: Path) -> dict[str, AQADataModule]:
    """Build the corpora of a YAML.

    Raises:
        ValueError: If it is no mapping of corpora, or one cannot be built.
    """
    from jsonargparse import ArgumentParser

    from lightning_aqa.data.base import AQADataModule
    from lightning_aqa.utils.components import import_parts
    from lightning_aqa.utils.documents import parse_yaml
    from lightning_aqa.utils.files import read_text

    found = parse_yaml(read_text(path))
    if not isinstance(found, Mapping) or not found or not all(isinstance(spec, Mapping) for spec in found.values()):
        raise ValueError(f"{path}: expected names of corpora, each with class_path and init_args as under data:.")
    import_parts()
    corpora = {}
    for name, spec in found.items():
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(AQADataModule, "data")
        try:
            corpora[str(name)] = parser.instantiate_classes(parser.parse_object({"data": dict(spec)})).data
        except Exception as error:  # of jsonargparse, which has no common class
            raise ValueError(f"{path}: {name}: {str(error).strip().splitlines()[-1].strip()}") from None
    return corpora


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call(benchmark, args)
