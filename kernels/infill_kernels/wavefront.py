"""A long read in several threads: each has some of the layers, and takes chunk after chunk.

    thread 1   chunk 1 ─► chunk 2 ─► chunk 3
                  └──────┐   └──────┐   └──────┐
    thread 2             chunk 1 ─► chunk 2 ─► chunk 3

A thread that has nothing to do sleeps.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

Step = Callable[[int, int], None]  # of a chunk, at a stage


class Wavefront:
    """As many stages as threads, the last of them in the thread that asks. Threads start when they
    are first wanted."""

    def __init__(self, stages: int) -> None:
        assert stages > 1, f"{stages} stages"
        self.stages = stages
        self._workers = [
            ThreadPoolExecutor(1, thread_name_prefix="infill-layers") for _ in range(stages - 1)
        ]

    def run(self, chunks: int, step: Step) -> None:
        """Every stage of a chunk after the one before, and after the same stage of the chunk
        before. What a step raises is raised here, once none is running any more."""
        before: list[Future[None]] = []
        started: list[Future[None]] = []
        for stage, worker in enumerate(self._workers):
            before = [
                worker.submit(_after, before[chunk] if before else None, step, chunk, stage)
                for chunk in range(chunks)
            ]
            started += before
        try:
            for chunk in range(chunks):
                _after(before[chunk], step, chunk, self.stages - 1)
        finally:
            for each in started:
                each.cancel()
            wait(started)


def _after(before: "Future[None] | None", step: Step, chunk: int, stage: int) -> None:
    if before is not None:
        before.result()
    step(chunk, stage)
