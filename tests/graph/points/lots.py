"""What the tests of points have in common: members with a lot, how it stands, and moments to come."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.graph.speech import Payload, Token, World, at

NOTHING = "bm90aGluZw"
LATE = "2998-01-01T00:00:00.000Z"
LATER = "2999-01-01T00:00:00.000Z"
NODE = "query($id: ID!) { node(id: $id) { __typename id ... on Lot { remaining given } } }"


async def awarded(world: World, points: int, issuer: str = "video", **more: Any) -> tuple[str, str]:
    """Award points to a new member; return its reference and the lot's id."""
    member = world.fresh("member")
    payload = await world.award(issuer, member, points, **more)
    return member, payload["lot"]["id"]


async def leave(world: World, member: str) -> Token:
    """Let a member of video part with it for rides; return a token that it had of video before."""
    token = await world.token(f"{member}@video")
    await world.link(token, "rides", member)
    await world.done(token, "unlinkPartner", partner=world.ids["video"])
    return token


def lot(payload: Payload) -> dict[str, int]:
    """Return the counts of a payload's lot that are not 0."""
    counts = ("awarded", "remaining", "held", "given", "withdrawn")
    return {name: int(payload["lot"][name]) for name in counts if payload["lot"][name] != "0"}


async def soon(world: World, milliseconds: int = 400) -> str:
    return at(await world.services.now() + timedelta(milliseconds=milliseconds))


async def freeze(world: World, member: str, mutation: str = "freezeMember", **more: Any) -> Payload:
    """Let the exchange freeze a member of video."""
    named = {"member": {"reference": member}, "partner": world.ids["video"], "reason": "stolen phone", **more}
    return await world.change("admin", mutation, **named)


def staffs(world: World, kind: str, sealed: str) -> str:
    """Return the id that staff has of what is video's `sealed`: `exchange member show` prints it."""
    identity = world.services.keyring.unseal(sealed, "partner:video").partition(":")[2]
    return world.services.keyring.seal(f"{kind}:{identity}", "staff")
