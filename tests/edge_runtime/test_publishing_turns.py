"""Work is done by one thread at a time, and once more after everyone who asked for it."""

from __future__ import annotations

import threading
import time

from edge_runtime.publishing.turns import Turns


def test_no_two_threads_work_at_once_and_the_last_word_is_always_heard() -> None:
    newest, heard, inside, together = 0, -1, 0, 0

    def work() -> None:
        nonlocal heard, inside, together
        inside += 1
        together = max(together, inside)
        heard = newest
        time.sleep(0)  # gives another thread its chance
        inside -= 1

    turns = Turns(work)

    def ask() -> None:
        nonlocal newest
        for _ in range(300):
            newest += 1
            turns.take()

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert (heard, together) == (newest, 1)


def test_work_may_ask_for_another_turn_and_is_not_called_from_within_itself() -> None:
    left, depth, deepest = 5, 0, 0

    def work() -> None:
        nonlocal left, depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        left -= 1
        if left:
            turns.take()
        depth -= 1

    turns = Turns(work)
    turns.take()
    assert (left, deepest) == (0, 1)


def test_who_finds_another_at_it_does_not_wait() -> None:
    begun, go_on, rounds = threading.Event(), threading.Event(), 0

    def work() -> None:
        nonlocal rounds
        rounds += 1
        begun.set()
        go_on.wait(10)

    turns = Turns(work)
    other = threading.Thread(target=turns.take)
    other.start()
    assert begun.wait(10)
    turns.take()  # returns while the other is held up
    assert rounds == 1
    go_on.set()
    other.join()
    assert rounds == 2


def test_waiting_takes_turns_until_it_is_done_or_too_late() -> None:
    rounds = 0

    def work() -> None:
        nonlocal rounds
        rounds += 1

    turns = Turns(work)
    turns.until(lambda: rounds == 3, time.monotonic() + 60)
    assert rounds == 3
    turns.until(lambda: False, time.monotonic() - 1)
    assert rounds == 3
