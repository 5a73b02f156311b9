"""Independent work on a CPU side by side: a core that has a clip of its own waits for no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from lightning_aqa.encoders.packing import PackedProducts

Task = TypeVar("Task")


def side_by_side(work: Callable[[Task], None], tasks: Sequence[Task], device: torch.device) -> None:
    """Do some tasks, on a CPU as many at once as there are threads of torch, each on its share of these.

    What is left where the tasks cannot be shared out evenly, and all of it where gradients are wanted or autocast is
    on, is done one after the other by all threads together.

    Args:
        work: Does one task; an error of it is raised here.
        tasks: The tasks, those of like size beside each other.
        device: Where they compute.
    """
    num_threads = torch.get_num_threads()
    at_once = min(num_threads, len(tasks))
    is_apart = device.type == "cpu" and at_once > 1 and not torch.is_grad_enabled()
    num_shared = len(tasks) // at_once * at_once if is_apart and not torch.is_autocast_enabled("cpu") else 0
    if num_shared:
        infers = torch.is_inference_mode_enabled()

        def apart(task: Task) -> None:
            with torch.inference_mode(infers), torch.no_grad(), PackedProducts():
                work(task)

        share = (num_threads // at_once,)
        try:
            with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=share) as pool:
                for _ in pool.map(apart, tasks[:num_shared]):
                    pass
        finally:
            torch.set_num_threads(num_threads)  # of this thread it is the same; later threads start with it
    for task in tasks[num_shared:]:
        work(task)
