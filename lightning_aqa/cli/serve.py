"""``lightning-aqa serve``: a small page that scores a clip, uploaded or recorded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from lightning_aqa.cli.signatures import call_with_model, check_at_least
from lightning_aqa.utils.signals import Stopped, StopSignals


def serve(
    checkpoint: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    title: str = "Score a clip",
    megabytes: float = 32.0,
    seconds: float = 120.0,
    device: str = "auto",
    ensemble: bool = False,
    interval: float | None = None,
    model_args: Sequence[str],
) -> int:
    """Serve a small page that scores a clip, uploaded or recorded, until Ctrl-C or SIGTERM.

    It shows a score per axis with its interval and note, and the waveform, with scores of frames where the head has
    them. Options --model.NAME=VALUE change a config, as for score.

    Args:
        checkpoint: Run folder, checkpoint, ensemble, published model (its folder, or ORG/MODEL of the hub), or a config
            whose parts bring their own weights.
        host: Address to serve at; the default is this machine alone.
        port: Port to serve at; 0 takes a free one.
        title: Heading of the page.
        megabytes: Largest upload, in MB of 2^20 bytes.
        seconds: Most of a clip that is scored, from its start.
        device: One of auto, cpu, cuda, cuda:1, mps.
        ensemble: Take the mean of the models of a cross-validation's folds, in place of its refit.
        interval: Share of clips whose rating is to lie in the interval, .9 unless it is given; 0 leaves it out.
        model_args: Options that change the model of a config.

    Returns:
        Exit code: 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        ValueError: If there is no such model or address, or an option is out of range.
    """
    check_at_least({"port": 0}, locals())
    if not 0 < megabytes <= 1024 or not 0 < seconds <= 3600:
        given = f"got {megabytes:g} and {seconds:g}"
        raise ValueError(f"--megabytes must be above 0, at most 1024, and --seconds above 0, at most 3600; {given}.")
    try:
        with StopSignals():
            from lightning_aqa.report.demo_server import DemoServer
            from lightning_aqa.report.local_server import opened_at, reach_of
            from lightning_aqa.scoring.clip_view import ClipView
            from lightning_aqa.scoring.load import load

            settings = {"device": device, "interval": interval, "num_workers": 0}
            view = ClipView(load(checkpoint, list(model_args), ensemble=ensemble, **settings), seconds)
            with opened_at(partial(DemoServer, view, view.about(), title, megabytes), host, port) as server:
                print(f"{server.address}  {reach_of(host)}; Ctrl-C ends it.", flush=True)
                server.serve_forever()
    except Stopped as stop:
        sys.stderr.write(f"stopped by {stop.name}; no clip is kept.\n")
        return stop.code
    return 0


def main(args: Sequence[str]) -> int:
    """Run the subcommand with its arguments."""
    return call_with_model(serve, args)
