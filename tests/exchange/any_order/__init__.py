"""Everything that can happen, in any order: `given` by whom, what `happenings` there are, and the `law` that holds."""

import pytest

# Where the asserts are: a failure shows both sides of them, as in a file of tests.
pytest.register_assert_rewrite("tests.exchange.any_order.law", "tests.exchange.any_order.ledger")
