"""Recorded nettings, judged: each is made anew of the blocks' sums, and has to be the one that was recorded.

What was recorded of a netting says by what it was made, what it pays and carries, and the hash of its certificate. The
hash settles every figure, if the same figures come of it now; and the certificate's own judge, which adds up in another
way, has to find nothing wrong with it. So a mistake that was made twice alike is found as well.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from io import BytesIO

from exchange.errors import ValidationFailed
from exchange.journal import Sums, canonical
from exchange.proof.netting_certificate import FORMAT, NettingCertificate, header, lines
from exchange.proof.sealed import Broken, verify
from exchange.settlement.netted import Netted, net
from exchange.settlement.recorded import Carried, RecordedNetting, opening


class NettingJudge:
    """Takes nettings in the order of their periods; `sums`: what the blocks of each period add up to."""

    def __init__(self, sums: Mapping[int, Sums]) -> None:
        self._sums = sums
        self._last: RecordedNetting | None = None

    def take(self, netting: RecordedNetting) -> Iterator[str]:
        """Yield what is wrong with the next."""
        last, self._last = self._last, netting
        follows = 0 if last is None else last.period
        if netting.follows != follows:
            yield f"follows that of period {netting.follows}, not of {follows}"
        if last is not None and last.period < netting.period - 1 and not last.carried.nothing:
            yield f"takes in nothing of what that of period {last.period} carries"
        taken = opening(netting.period, last)
        try:
            netted = net(
                self._sums.get(netting.period, Sums()), netting.policy, taken.carried.payments, taken.carried.balances
            )
        except ValidationFailed as refusal:
            yield f"cannot be made: {refusal.message}"
            return
        if Carried.by(netted) != netting.carried:
            yield "carries something else, made anew"
        if netted.payments != netting.payments:
            yield "makes other payments due, made anew"
        certificate = _certificate(netting, netted, taken.after)
        if sha256(certificate).hexdigest() != netting.hash:
            yield "made anew has a certificate with another hash"
        try:
            verify(BytesIO(certificate).readline, {FORMAT: NettingCertificate}, lambda *_: "")
        except Broken as broken:
            yield f"has a certificate that is not sound: {broken}"


def _certificate(netting: RecordedNetting, netted: Netted, after: str | None) -> bytes:
    """Return the certificate, with the signature that was recorded."""
    first = {**header(netting.period, netting.root, netting.policy, after), "keys": netting.keys}
    body = b"".join(canonical(line) + b"\n" for line in (first, *lines(netted)))
    end = {"format": FORMAT, "lines": body.count(b"\n"), "sha256": sha256(body).hexdigest()}
    return body + canonical({**end, "signature": netting.signature}) + b"\n"
