"""Two members who are one person: how they become one, and two again, and what is seen of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.graph.speech import LINKS, Payload, World, document

LOTS = "lots { nodes { id remaining issuer { handle } } }"
OF = f"query($r: String!) {{ member(by: {{reference: $r}}) {{ ...links wallet {{ balance {LOTS} }} }} }} {LINKS}"
MINE = f"{{ viewer {{ member {{ ...links wallet {{ balance {LOTS} }} }} }} }} {LINKS}"
NODE = f"query($id: ID!) {{ node(id: $id) {{ ... on Member {{ ...links wallet {{ balance }} }} }} }} {LINKS}"


class Two(NamedTuple):
    """Two members who are one person.

    `ann`: known to video and delivery. `bob`: known to video by that name, to rides by the name `rider`.
    """

    ann: str
    bob: str
    rider: str


async def merged(world: World, two: Two) -> Payload:
    """Make bob, as rides knows it, ann; return what rides sees of the member then."""
    return await world.merge(f"{two.rider}@rides", f"{two.ann}@video")


async def undo(world: World, who: str, **given: Any) -> Payload:
    return await world.do(who, "undoMerge", **{"idempotencyKey": world.fresh("undo"), **given})


async def undo_by_staff(world: World, **given: Any) -> Payload:
    """Undo a merge as the exchange, which does not see into wallets."""
    asked = {"idempotencyKey": world.fresh("undo"), **given}
    short = document("undoMerge", "... on MergeMembersSuccess { replayed member { id } }")
    payload: Payload = await world.read("admin", short, input=asked)
    return payload


def remaining(member: Payload) -> list[tuple[str, str]]:
    """Say whose lots with how many points a caller sees."""
    return [(lot["issuer"]["handle"], lot["remaining"]) for lot in member["wallet"]["lots"]["nodes"]]


async def seen(world: World, two: Two, partner: str) -> Payload:
    """Return what delivery sees of ann, or rides of bob."""
    found: Payload = await world.read(partner, OF, r=two.ann if partner == "delivery" else two.rider)
    return found
