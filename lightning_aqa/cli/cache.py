"""``lightning-aqa cache``: compute the features of a config, check a folder of features, clear it up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lightning_aqa.cli.signatures import call, split_own

if TYPE_CHECKING:
    from lightning_aqa.data.cache.prune import Found
    from lightning_aqa.data.cache.store import FeatureStore
    from lightning_aqa.training.feature_cache import Built


class _Upkeep(NamedTuple):
    """Upkeep of a folder of features; the fields are the options of the subcommand."""

    verify: bool
    prune: bool
    older_than: float | None
    budget: float | None
    dry_run: bool


def cache(
    *,
    verify: bool = False,
    prune: bool = False,
    folder: str | None = None,
    older_than: float | None = None,
    budget: float | None = None,
    dry_run: bool = False,
    fit_args: Sequence[str],
) -> int:
    """Compute a frozen encoder's features, check them, or clear them up.

    All other arguments are those of fit, such as --config FILE, --data.root=DIR or --model.head=MLP: the features are
    those that fit with the same arguments would read. Without --verify and --prune they are computed where they are
    missing. Exit code: 0, or 1 if --verify found damage.

    Args:
        verify: Check every entry of the folder, and remove those that are damaged.
        prune: Remove what killed runs left behind, and entries by the options below.
        folder: Folder to check or to clear up; without it, the config's --data.cache.
        older_than: Prune entries that were not used for so many days.
        budget: Prune those not used for the longest time until so many GB are left.
        dry_run: Say what would be removed, and remove nothing.
        fit_args: Arguments of fit.

    Returns:
        The exit code.

    Raises:
        ValueError: If the options do not go together, or something of the config is wrong.
    """
    upkeep, has_upkeep = _Upkeep(verify, prune, older_than, budget, dry_run), verify or prune
    if not has_upkeep and (folder or dry_run or older_than is not None or budget is not None):
        raise ValueError("--folder, --older_than, --budget and --dry_run go with --verify or --prune.")
    if folder is not None and fit_args:
        raise ValueError(f"--folder is looked after without a config, so {fit_args[0]} means nothing here.")
    if folder is not None:
        return _look_after(upkeep, Path(folder))
    from lightning_aqa.cli.cache_cli import CacheCLI

    cli = CacheCLI(fit_args)
    if has_upkeep:
        return _look_after(upkeep, cli.store.folder, cli.paths() if prune else ())
    _print_built(cli.store, cli.build())
    return 0


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    own, fit_args = split_own(cache, args)
    return call(cache, own, fit_args=fit_args)


def _print_built(store: FeatureStore, built: Built) -> None:
    speed = f", {built.num_encoded / built.seconds:.1f} clips/s" if built.num_encoded else ""
    there = built.num_windows - built.num_encoded - built.num_derived
    derived = f", {built.num_derived} computed from entries that hold more" if built.num_derived else ""
    kept = {"mean_std": "mean and deviation", "mean": "mean", "frames": "all frames"}[store.form.kind]
    print(f"{store.folder}: {built.num_windows} windows of {store.encoder_name}, kept as {kept}.")
    print(f"{there} were there, {built.num_encoded} encoded{derived} ({built.seconds:.1f} s{speed}).")
    if built.num_damaged:
        print(f"{built.num_damaged} were damaged and are among those computed anew.")


def _look_after(upkeep: _Upkeep, folder: Path, kept: Collection[Path] = ()) -> int:
    """Check, then prune, as the options say."""
    from lightning_aqa.data.cache.prune import damaged, files_of, unneeded
    from lightning_aqa.training.feature_encoding import human

    code = 0
    if upkeep.verify:
        bad = damaged(folder)
        code = int(bool(bad))
        print(f"{folder}: {sum(1 for _ in files_of(folder))} entries checked, {len(bad)} damaged.")
        _remove(bad, "damaged", upkeep.dry_run)
    if upkeep.prune:
        budget = None if upkeep.budget is None else upkeep.budget * 1e9
        _remove(unneeded(folder, kept, upkeep.older_than, budget), "unneeded", upkeep.dry_run)
        files = list(files_of(folder))
        print(f"{folder}: {len(files)} entries, {human(sum(file.size for file in files))}.")
    return code


def _remove(files: Collection[Found], kind: str, dry_run: bool) -> None:
    from lightning_aqa.data.cache.prune import remove
    from lightning_aqa.training.feature_encoding import human

    size = human(sum(file.size for file in files))
    if not dry_run:
        remove(files)
    print(f"{len(files)} {kind} {'file' if len(files) == 1 else 'files'} {'would be ' * dry_run}removed, {size}.")
