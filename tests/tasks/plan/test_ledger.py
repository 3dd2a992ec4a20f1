"""Slots as the ledger holds them."""

import random

from patchlake.tasks.plan.ledger import SlotSet


def test_slots_are_a_set():
    held, wanted = SlotSet(), set()
    assert set() <= held
    assert not {0} <= held
    draw = random.Random(0)
    for _ in range(50):
        some = [draw.randrange(300) for _ in range(draw.randrange(5))]
        held.update(some)
        wanted.update(some)
        assert held == wanted
        assert len(held) == len(wanted)
        assert sorted(held) == sorted(wanted)
        other = {draw.randrange(400) for _ in range(3)}
        assert (other <= held) == (other <= wanted)
    assert -1 not in held
    assert 10**9 not in held
