"""`exchange exposure`: how much a partner may owe, and what it has paid towards it."""

from __future__ import annotations

from tests.graph.cli.running import Up, cents, run, tell


def test_a_cap_is_set_funded_and_listed(demo: Up) -> None:
    """A cap counts what is owed already; a payment repeated is one; what is refused is said with its option."""
    of = ("--data", demo.data, "--partner", "delivery", "--currency", "eur")
    first = tell("exposure", "set", *of, "--cap", "0", "--by", "ada")
    used = cents(first["exposure"]["used"]["amount"])
    assert (first["version"], cents(first["exposure"]["left"]["amount"])) == (1, -used)
    paid = ("exposure", "fund", *of, "--amount", "90000.00", "--reference", "bank 17")
    assert [tell(*paid)["replayed"] for _ in range(2)] == [False, True]
    left = f"{(9_000_000 - used) / 100:.2f}"
    assert run(*paid).out == f"90000.00 EUR of delivery was recorded before; {left} EUR left\n"
    assert run("exposure", "set", *of, "--cap", "0", "--low", "99999").out.startswith(
        f"delivery, version 2: may owe {left} EUR more"
    )
    (row,) = tell("exposure", "list", "--data", demo.data, "--partner", "delivery")["exposures"]
    assert (row["paid"]["amount"], row["left"]["amount"], row["low"]) == ("90000.00", left, True)
    assert [notice["left"]["amount"] for notice in row["notices"]] == [left]
    lines = run("exposure", "list", "--data", demo.data).out.splitlines()
    assert lines[0].split() == ["partner", "currency", "cap", "paid", "used", "left"]
    assert lines[1].split() == ["delivery", "EUR", "0.00", "90000.00", row["used"]["amount"], left, "low"]
    assert run("exposure", "set", *of, "--none").out == "delivery, version 3: may owe as much EUR as it likes\n"
    for arguments, complaint in (
        (("set", "--partner", "nobody", "--currency", "EUR", "--none"), "there is no partner nobody"),
        (("list", "--partner", "nobody"), "there is no partner nobody"),
        (("fund", *of[2:], "--amount", "1", "--reference", "bank 17"), "idempotencyKey: this idempotency key"),
    ):
        said = run("exposure", arguments[0], "--data", demo.data, *arguments[1:])
        assert said.status == 1
        assert complaint in said.complaint
