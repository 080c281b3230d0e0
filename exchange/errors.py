"""What the exchange answers when it does not do what was asked.

::

    ExchangeError
    ├── Refusal                   expected; data in the API; nothing was changed
    │   ├── ValidationFailed      the input is malformed or contradicts what is stored
    │   ├── Forbidden             the caller may not                       requiredScope
    │   ├── IdempotencyConflict   the key was used for something else
    │   ├── NotFound              no such object, or none of the caller's
    │   ├── InvalidTransition     the redemption is past that step         status
    │   ├── InvalidSignOff        the statement does not stand where that step begins   status
    │   ├── InvalidDispute        the dispute does not stand where that step begins     status
    │   ├── VersionConflict       somebody changed it first (retryable)    currentVersion
    │   ├── BenefitUnavailable    every reason at once                     reasons
    │   ├── PriceChanged          the price is not what was expected       pointsPrice
    │   └── InsufficientPoints    not enough to spend on this benefit      required, available
    └── Fault                     ours, not the caller's; retry with the same idempotency key
        ├── Overloaded            the queue is full; nothing was tried
        ├── Contended             rivals won every attempt until the deadline; nothing was changed
        ├── StoreUnavailable      the database did not answer; the outcome may be unknown to the caller
        │   └── NotSetUp          something is missing in the database that this process may not make
        └── FiguresDisagree       blocks and entries say different things; a human has to look

The order of the refusals is their order of precedence (one visible ladder, in `decisions`). `retryable` says
whether the same request could end differently without the caller changing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ExchangeError(Exception):
    """Root of everything the exchange raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refusal(ExchangeError):  # noqa: N818 - the word of the trade
    """An expected outcome: the request was understood and is not carried out."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.path: list[str] | None = list(path) or None


class ValidationFailed(Refusal):
    """`path` names the offending input, e.g. ("input", "benefits", "3", "sku")."""

    code = "VALIDATION_ERROR"


class Forbidden(Refusal):
    """The caller may not; `required_scope` when a scope would have helped."""

    code = "FORBIDDEN"

    def __init__(self, message: str, path: Sequence[str] = (), *, required_scope: str | None = None) -> None:
        super().__init__(message, path)
        self.required_scope = required_scope


class IdempotencyConflict(Refusal):
    """The idempotency key already stands for a different input."""

    code = "IDEMPOTENCY_CONFLICT"


class NotFound(Refusal):
    """No such object; said in the same words when it is another tenant's."""

    code = "NOT_FOUND"


class InvalidTransition(Refusal):
    """The redemption's `status` does not allow the step."""

    code = "INVALID_TRANSITION"

    def __init__(self, message: str, path: Sequence[str] = (), *, status: str) -> None:
        super().__init__(message, path)
        self.status = status


class InvalidSignOff(Refusal):
    """The statement's `status` does not allow the step."""

    code = "INVALID_SIGN_OFF"

    def __init__(self, message: str, path: Sequence[str] = (), *, status: str) -> None:
        super().__init__(message, path)
        self.status = status


class InvalidDispute(Refusal):
    """The dispute's `status` does not allow the step."""

    code = "INVALID_DISPUTE"

    def __init__(self, message: str, path: Sequence[str] = (), *, status: str) -> None:
        super().__init__(message, path)
        self.status = status


class VersionConflict(Refusal):
    """The object has `current_version`, not the one expected."""

    code = "VERSION_CONFLICT"
    retryable = True

    def __init__(self, message: str, path: Sequence[str] = (), *, current_version: int) -> None:
        super().__init__(message, path)
        self.current_version = current_version


class BenefitUnavailable(Refusal):
    """`reasons` holds all that stand in the way, as `benefit.UnavailableReason`.

    `beyond`: what issuers would owe, by (partner, currency), of those that may not owe that much. Nobody is told.
    """

    code = "BENEFIT_UNAVAILABLE"
    retryable = True

    def __init__(
        self, message: str, path: Sequence[str] = (), *, reasons: Sequence[str],
        beyond: Mapping[Any, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, path)
        self.reasons = list(reasons)
        self.beyond = dict(beyond or {})


class PriceChanged(Refusal):
    """The total is now `points_price`, not what the caller expected."""

    code = "PRICE_CHANGED"

    def __init__(self, message: str, path: Sequence[str] = (), *, points_price: int) -> None:
        super().__init__(message, path)
        self.points_price = points_price


class InsufficientPoints(Refusal):
    """`required` points are more than the `available` that could be spent on this benefit."""

    code = "INSUFFICIENT_POINTS"
    retryable = True

    def __init__(self, message: str, path: Sequence[str] = (), *, required: int, available: int) -> None:
        super().__init__(message, path)
        self.required = required
        self.available = available


class Fault(ExchangeError):  # noqa: N818 - the word of the trade
    """Ours, not the caller's. The same request with the same idempotency key is safe to repeat.

    `retry_seconds`: how long to wait before that.
    """

    retry_seconds: int = 1


class Overloaded(Fault):
    """The queue is full. Nothing was tried; after `retry_seconds` what waits now should be done."""

    def __init__(self, message: str, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Contended(Fault):
    """Every attempt lost to a rival before the deadline. Nothing was changed."""


class StoreUnavailable(Fault):
    """The database did not answer in time; what it had been asked may still have happened."""


class NotSetUp(StoreUnavailable):
    """A collection, an index or a validator is missing, and the database's user may not make it. For the operator."""


class FiguresDisagree(Fault):
    """Two independent computations of the same figures differ, so neither is given out; repeating does not help."""
