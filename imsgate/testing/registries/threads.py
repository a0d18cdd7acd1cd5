"""Steps that several threads take at the same moment."""

import threading
from collections.abc import Callable

from imsgate.errors import Error


def together(threads: int, step: Callable[[int], object]) -> list[object]:
    """Call ``step`` with each thread's number; return each one's result or exception."""
    start = threading.Barrier(threads)
    outcomes: list[object] = [None] * threads

    def run(number: int) -> None:
        start.wait()
        try:
            outcomes[number] = step(number)
        except Exception as error:
            outcomes[number] = error

    runners = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    return outcomes


def winner(outcomes: list[object], refusal: type[Error]) -> int:
    """The number of the only thread that succeeded; all others must have raised ``refusal``."""
    winners = [
        number for number, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)
    ]
    assert len(winners) == 1, outcomes
    refused = sum(isinstance(outcome, refusal) for outcome in outcomes)
    assert refused == len(outcomes) - 1, outcomes
    return winners[0]
