"""Everything that can happen to three members, in any order, with time moving: the law holds after every step."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.exchange.any_order.given import COMMANDS
from tests.exchange.any_order.happenings import Exchange


def test_the_law_holds_in_any_order() -> None:
    """Whatever is asked in whatever order, every invariant holds after it; and all was done, and refused."""
    Exchange.reached.clear()
    wanted = {(name, what) for name in COMMANDS for what in ("done", "refused")}
    for turn in range(4):  # chance may leave something out; more of it seldom does, also where it is always the same
        examples = 200 * 2**turn
        chance = settings(max_examples=examples, stateful_step_count=50, deadline=None)
        run_state_machine_as_test(Exchange, settings=chance)
        if wanted <= Exchange.reached.keys():
            break
    assert set(Exchange.reached) == wanted
