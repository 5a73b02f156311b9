"""MLflow: where a run folder keeps its store, and which run of which store it holds; its package is not imported."""

from __future__ import annotations

from pathlib import Path

from lightning_aqa.results.facts import add_fact, read_facts
from lightning_aqa.results.files import MLFLOW_STORE

FACT = "mlflow"


def store_in(folder: Path) -> str:
    """Return the tracking URI of the store in a run folder."""
    return f"sqlite:///{folder.resolve() / MLFLOW_STORE}"


def write_mlflow_run(folder: Path, uri: str, run_id: str) -> None:
    """Keep in ``run.json`` which run it is; a store in the folder goes by no path, since it moves with the folder."""
    add_fact(folder, FACT, {"run_id": run_id, "tracking_uri": "" if uri == store_in(folder) else uri})


def read_mlflow_run(folder: Path, uri: str) -> str | None:
    """Return the run of a store that a run folder holds; None where it holds none, or one of another store."""
    fact = read_facts(folder).get(FACT)
    if not isinstance(fact, dict) or not isinstance(fact.get("run_id"), str):
        return None
    is_own = uri == store_in(folder)
    if is_own and not (folder / MLFLOW_STORE).is_file():
        return None
    return fact["run_id"] if fact.get("tracking_uri") == ("" if is_own else uri) else None
