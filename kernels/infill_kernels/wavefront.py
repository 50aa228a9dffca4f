"""A long read in several threads: each has some of the layers, and takes chunk after chunk.

    thread 1   chunk 1 ─► chunk 2 ─► chunk 3
                  └──────┐   └──────┐   └──────┐
    thread 2             chunk 1 ─► chunk 2 ─► chunk 3

A thread that has nothing to do sleeps.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

Step = Callable[[int, int], None]  # of a chunk, at a stage


def always() -> bool:
    """The `going` of a read that nobody ends."""
    return True


class Wavefront:
    """As many stages as threads, the last of them in the thread that asks. Threads start when they
    are first wanted."""

    def __init__(self, stages: int) -> None:
        assert stages > 1, f"{stages} stages"
        self.stages = stages
        self._workers = [
            ThreadPoolExecutor(1, thread_name_prefix="infill-layers") for _ in range(stages - 1)
        ]

    def run(self, chunks: int, step: Step, going: Callable[[], bool] = always) -> int:
        """Every stage of a chunk after the one before, and after the same stage of the chunk
        before; no other chunk once `going` says no, of which it is asked before each but the first.
        Returns how many were done. What a step raises is raised here, once none is running."""
        before: list[Future[bool]] = []
        started: list[Future[bool]] = []
        ended = False

        def first(chunk: int) -> bool:
            nonlocal ended
            ended = ended or (chunk > 0 and not going())
            if not ended:
                step(chunk, 0)
            return not ended

        def after(last: "Future[bool]", chunk: int, stage: int) -> bool:
            if wanted := last.result():
                step(chunk, stage)
            return wanted

        for stage, worker in enumerate(self._workers):
            before = [
                worker.submit(after, before[chunk], chunk, stage)
                if before
                else worker.submit(first, chunk)
                for chunk in range(chunks)
            ]
            started += before
        try:
            return sum(after(before[chunk], chunk, self.stages - 1) for chunk in range(chunks))
        finally:
            for each in started:
                each.cancel()
            wait(started)
