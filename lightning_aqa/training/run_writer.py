"""Write the run folder: config, predictions, ratings, results, skipped clips, pictures; and say it on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback

from lightning_aqa.data.base import AQADataModule
from lightning_aqa.data.mix import Mix
from lightning_aqa.data.own_loaders import OwnLoaders
from lightning_aqa.data.validation import write_skipped
from lightning_aqa.encoders.fingerprint import weights_hash
from lightning_aqa.heads.probe import Probe
from lightning_aqa.metrics.conformal import ConformalCalibration
from lightning_aqa.metrics.predictions import Predictions
from lightning_aqa.metrics.resampling import Unit, check_unit
from lightning_aqa.module import AQAModule
from lightning_aqa.results.clip_intervals import (
    calibrated_by_dev,
    read_calibration,
    with_coverage,
    with_ends,
    write_calibration,
)
from lightning_aqa.results.console import print_results
from lightning_aqa.results.evidence import TRAINING, with_evidence
from lightning_aqa.results.facts import add_fact, write_facts
from lightning_aqa.results.files import CONFIG, PAIRS, PREDICTIONS, RATINGS, RESULTS, RUN, SKIPPED
from lightning_aqa.results.notes import Expected, note_of
from lightning_aqa.results.pairs import with_pairs, write_pairs
from lightning_aqa.results.predictions import write_predictions, write_results
from lightning_aqa.results.ratings import ratings_of, write_ratings
from lightning_aqa.results.run_folder import run_of
from lightning_aqa.results.shares import print_shares, share_facts
from lightning_aqa.training.console import print_run
from lightning_aqa.training.evaluated import clips_of_training, weights_of
from lightning_aqa.training.loggers import introduce_run, log_pictures
from lightning_aqa.utils.files import replacing


class RunFolder(Callback):
    """Leave everything a run found in one folder, computed from the gathered predictions.

    Args:
        folder: The run folder.
        config: Text of ``config.yaml``; empty where no config made the run.
        command: Arguments of the command line, for the record.
        unit: What varies as one piece in the intervals; None is clips, and systems at system level.
        checkpoint: Path of the checkpoint that is evaluated; None where the run trains.
    """

    def __init__(
        self,
        folder: str | Path,
        config: str = "",
        command: Sequence[str] = (),
        unit: Unit | None = None,
        checkpoint: str | None = None,
    ) -> None:
        self.folder, self.config, self.command, self.unit = Path(folder), config, command, unit
        self.checkpoint = checkpoint
        self._is_told = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make the folder with the config, the facts of the run and the list of skipped clips."""
        if not trainer.is_global_zero:
            return
        data = cast(AQAModule, pl_module).data
        if self.unit is not None:
            check_unit(self.unit, [clip.system for clip in data.manifest], [clip.prompt for clip in data.manifest])
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.config and not (self.folder / CONFIG).exists():
            with replacing(self.folder / CONFIG) as file:
                file.write(self.config)
        if not (self.folder / RUN).exists():
            assert isinstance(pl_module, AQAModule)
            write_facts(
                self.folder,
                subcommand=str(trainer.state.fn.value if trainer.state.fn else stage),
                command=self.command,
                axes=pl_module.axes,
                corpus=type(data).__name__,
                is_simulated=data.is_simulated,
                encoder=_described(pl_module),
                targets=data.targets,
            )
            if isinstance(data, Mix):
                add_fact(self.folder, "corpora", data.described)
        write_skipped(data.skipped, self.folder / SKIPPED)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print what is trained, on what, by which objectives; tell the loggers what run it is."""
        assert isinstance(pl_module, AQAModule)
        if trainer.is_global_zero:
            print_run(pl_module, self.folder)
            introduce_run(trainer.loggers, self.folder, self.config)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what a probe that is trained on has chosen."""
        self._tell_probe(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what a probe has chosen, if that was not said before."""
        self._tell_probe(trainer, pl_module)

    def _tell_probe(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AQAModule)
        head = pl_module.head
        if self._is_told or not isinstance(head, Probe) or not head.shares or not trainer.is_global_zero:
            return
        self._is_told = True
        given = pl_module.layers if len(head.parts) == 1 else None
        shares = share_facts(head.shares, [given or range(len(part.layers)) for part in head.parts])
        add_fact(self.folder, "probe", shares)
        print_shares(shares)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the numbers of ``validate``; inside ``fit`` there is nothing to write yet."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the numbers of every rated split."""
        self._write(trainer, pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the scores of all clips, with notes on those that are likely nonsense."""
        assert isinstance(pl_module, AQAModule)
        data = pl_module.data
        for split in ["predict"] if isinstance(data, AQADataModule) else data.rated_splits:
            pl_module.predictions[split] = _noted(pl_module.predictions[split], pl_module, data)
        self._write(trainer, pl_module, ["predict"] if isinstance(data, AQADataModule) else data.rated_splits)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule, predicted: Sequence[str] = ()) -> None:
        assert isinstance(pl_module, AQAModule)
        if not trainer.is_global_zero:
            return
        evaluated, axes = [] if predicted else self._evaluated(pl_module), [axis.name for axis in pl_module.axes]
        splits = {name: pl_module.predictions[name] for name in predicted or evaluated}
        calibration = self._calibration(splits, axes)
        if calibration is not None:
            splits = {n: t if n == TRAINING else with_ends(t, pl_module.axes, calibration) for n, t in splits.items()}
        write_predictions(self.folder / PREDICTIONS, splits.items(), axes)
        results = {}
        if evaluated:
            manifest = pl_module.data.manifest
            ratings = {name: ratings_of(manifest, splits[name].ids, axes) for name in evaluated}
            write_ratings(self.folder / RATINGS, ratings.items())
            write_pairs(self.folder / PAIRS, [(name, pl_module.pairs[name]) for name in evaluated])
            for name in evaluated:
                found, rows = pl_module.results[name], ratings[name]
                results[name] = with_evidence(
                    name, found, splits[name], axes, rows, manifest.system_scores, unit=self.unit
                )
                if calibration is not None:
                    results[name] = with_coverage(results[name], splits[name], calibration)
                judged = pl_module.pairs[name]
                results[name] = with_pairs(results[name], judged, axes, with_intervals=name != TRAINING)
            write_results(self.folder / RESULTS, results)
        drawn = self._draw(trainer, pl_module) if results else []
        of = weights_of(trainer, pl_module, self.checkpoint)
        add_fact(self.folder, "evaluated", of._asdict())
        print_results(results, self.folder, drawn, sum(len(t.ids) for t in splits.values()), str(of))
        for line in clips_of_training(self.checkpoint, splits) if self.checkpoint and results else ():
            print(line)

    def _calibration(self, splits: Mapping[str, Predictions], axes: Sequence[str]) -> ConformalCalibration | None:
        """Find what intervals follow from: of a checkpoint that was given what its run left, else the split dev."""
        if self.checkpoint is not None:
            return read_calibration(run_of(self.checkpoint))
        found = calibrated_by_dev(splits, axes, self.unit)
        if found is not None:
            write_calibration(self.folder, found)
        return found

    def _evaluated(self, pl_module: AQAModule) -> list[str]:
        splits = pl_module.data.rated_splits
        return [split for split in splits if split in pl_module.results]

    def _draw(self, trainer: L.Trainer, pl_module: AQAModule) -> list[Path]:
        from lightning_aqa.results.plots import draw_run

        paths = draw_run(self.folder, pl_module.axes)
        log_pictures(trainer.loggers, paths, trainer.global_step)
        return paths


def _noted(table: Predictions, module: AQAModule, data: AQADataModule | OwnLoaders) -> Predictions:
    padded, is_kept = module.encoder.padded_seconds, data.normalise == "keep"
    expected = Expected(module.axes, data.shortest_piece, padded, module.trained_on, is_kept)
    rows = zip(table.ids, table.scores.tolist(), strict=True)
    return table._replace(notes=[note_of(data.signals.get(id_), scores, expected) for id_, scores in rows])


def _described(module: AQAModule) -> dict[str, Any]:
    """Describe the encoder of a module: its class, its settings where a config gave them, the hash of its weights."""
    given = module.hparams.get("encoder") or {}
    settings = given.get("init_args", {}) if isinstance(given, dict) else {}
    return {"class": type(module.encoder).__name__, "settings": settings, "weights": weights_hash(module.encoder)}
