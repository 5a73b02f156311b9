"""Runs that end early, in forks of a process that has imported all once; each job is a list of commands."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from lightning_aqa.cli.main import main
from lightning_aqa.module import AQAModule
from lightning_aqa.results import plots


def send(number, hook, position):
    """Send this process a signal when a hook of the module is called for the n-th time."""
    calls, usual = [], getattr(AQAModule, hook)

    def called(module, *args):
        calls.append(hook)
        if len(calls) == position:
            os.kill(os.getpid(), number)
        return usual(module, *args)

    setattr(AQAModule, hook, called)


def run(words, output, ending=None):
    """Run the command line in a fork, and return its exit code."""
    process = os.fork()
    if process == 0:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if ending is not None:
            send(getattr(signal, ending["signal"]), ending["hook"], ending["position"])
        code = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def work(jobs):
    for job in jobs:
        job["codes"], job["said"] = [], []
        for number, step in enumerate(job["steps"]):
            output = Path(job["folder"]) / f"{number}.log"
            job["codes"].append(run(step["words"], output, step.get("ending")))
            job["said"].append(output.read_text())


if __name__ == "__main__":
    torch.set_num_threads(1)
    plots.draw_run = lambda *args: []
    path = Path(sys.argv[1])
    jobs = json.loads(path.read_text())
    # Once here, so that no fork imports again what a run imports late.
    assert main([*jobs[0]["steps"][0]["words"], f"--trainer.default_root_dir={path.parent / 'warm'}"]) == 0
    work(jobs)
    path.write_text(json.dumps(jobs))
