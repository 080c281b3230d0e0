"""`exchange agreement`: what points cost, set, listed and tried out."""

from __future__ import annotations

from tests.graph.cli.running import Up, cents, run, tell


def test_an_agreement_is_set_and_listed(demo: Up) -> None:
    """A second version counts on; defaults name nobody; what is refused is said with its option."""
    agree = ("agreement", "set", "--data", demo.data, "--currency", "usd")
    first = tell(*agree, "--provider", "video", "--price", "7.50", "--fee-bps", "100", "--commission-bps", "50")
    assert {name: first[name] for name in first if name not in {"id", "effective_from"}} == {
        "issuer": None, "provider": "video", "version": 1,
        "price_per_1000_points": {"amount": "7.50", "currency": "USD"},
        "fee_basis_points": 100, "commission_basis_points": 50,
    }  # fmt: skip
    text = run(*agree, "--provider", "video", "--price", "8", "--effective-from", "2999-01-01T00:00:00+01:00").out
    assert text.startswith("any to video, version 2: 8.00 USD for 1,000 points, fee 0 bps")
    assert text.endswith("from 2998-12-31T23:00:00.000Z\n")
    assert [
        row["version"] for row in tell("agreement", "list", "--data", demo.data)["agreements"] if not row["issuer"]
    ] == [2, 1]
    for options, complaint in (
        (["--issuer", "nobody", "--price", "1"], "there is no partner nobody"),
        (["--issuer", "exchange", "--price", "1"], "there is no partner exchange"),
        (["--price", "1", "--effective-from", "2020-01-01T00:00:00Z"], "--effective-from: must not be in the past"),
    ):
        said = run(*agree, *options)
        assert said.status == 1
        assert complaint in said.complaint


def test_an_agreement_is_simulated(demo: Up) -> None:
    """Twice the price costs twice as much, but for rounding; what is in force changes nothing; nothing is set by it."""
    before = tell("agreement", "list", "--data", demo.data)
    now = next(each for each in before["agreements"] if (each["issuer"], each["provider"]) == ("video", "rides"))
    bps = ("--fee-bps", str(now["fee_basis_points"]), "--commission-bps", str(now["commission_basis_points"]))
    price, currency = now["price_per_1000_points"].values()
    pair = ("agreement", "simulate", "--data", demo.data, "--issuer", "video", "--provider", "rides", *bps,
            "--currency", currency.lower(), "--period", "1")  # fmt: skip
    same = tell(*pair, "--price", price)
    assert (same["period"], same["status"], same["rows"]) == (1, "CLOSED", [])
    assert same["repriced"] > 0
    assert run(*pair, "--price", price).out.splitlines()[:2] == [
        f"period 1: {same['repriced']:,} redemptions would be priced by it", "nothing would be different",
    ]  # fmt: skip

    twice = f"{cents(price) * 2 / 100:.2f}"
    other = tell(*pair, "--price", twice)
    row = next(row for row in other["rows"] if row["issuer"] == "video")
    amounts = {side: cents(row[side]["gross"]["amount"]) for side in ("now", "simulated", "difference")}
    assert amounts["now"] > 0
    assert amounts["simulated"] - amounts["now"] == amounts["difference"]
    assert abs(amounts["simulated"] - 2 * amounts["now"]) <= 2 * row["redemptions"]
    (total,) = other["totals"]
    assert total["now"] == same["totals"][0]["now"] == same["totals"][0]["simulated"]
    lines = run(*pair, "--price", twice).out.splitlines()
    assert lines[1].split() == [
        "issuer", "provider", "redemptions", "points", "gross", "fees", "commissions", "currency"
    ]  # fmt: skip
    figures = [row["now"][name]["amount"] for name in ("gross", "fees", "commissions")]
    told = next(line.split() for line in lines if line.startswith("video"))
    assert told[0:2] + told[4:] == ["video", "rides", "now", *figures, currency]
    assert tell("agreement", "list", "--data", demo.data) == before

    for options, complaint in (
        (["--period", "999"], "no such period"), (["--issuer", "nobody"], "there is no partner nobody"),
    ):  # fmt: skip
        said = run(*pair, "--price", price, *options)
        assert (said.status, said.complaint) == (1, complaint)
