from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exchange.errors import ValidationFailed
from exchange.particulars import Particulars
from exchange.store.connection import server_time
from partners.particulars import PartnerParticulars, Version
from partners.registry import Partner

from .conftest import OAuthWorld

IBAN = "DE89370400440532013000"


async def change(world: OAuthWorld, partner: Partner, **changes: Any) -> Version:
    now = await server_time(world.database)
    return await PartnerParticulars(world.database).change(partner, changes, "ada", now)


async def test_a_partner_begins_with_its_name(world: OAuthWorld) -> None:
    """Before anybody said more, what stands on paper is the name that it was brought in with."""
    video = (await world.partner("video")).partner
    found = await PartnerParticulars(world.database).of(video)
    assert found == Version(number=0, particulars=Particulars(name=video.name))


async def test_each_change_is_a_version(world: OAuthWorld) -> None:
    """What is not given stays, an empty text takes away, accounts lose their spaces; every version is kept."""
    video = (await world.partner("video")).partner
    other = (await world.partner("video-2")).partner
    await change(world, video, name="Lumen AG", address=("Weg 1", "8001 Zürich"), iban="de89 3704 0044 0532 0130 00")
    await change(world, other, name="Other")
    await change(world, video, tax_number="CHE-107.787.577", bic="cobadeffxxx")
    last = await change(world, video, tax_number="")
    assert (last.number, last.by) == (3, "ada")
    assert last == await PartnerParticulars(world.database).of(video)
    assert last.particulars == Particulars(
        name="Lumen AG", address=("Weg 1", "8001 Zürich"), iban=IBAN, bic="COBADEFFXXX"
    )  # fmt: skip
    kept = await world.database["particulars"].find({"_id": {"$regex": "^video:"}}).sort("_id", 1).to_list(None)
    assert [(each["number"], each["tax_number"]) for each in kept] == [(1, None), (2, "CHE-107.787.577"), (3, None)]


async def test_what_changes_nothing_is_no_version(world: OAuthWorld) -> None:
    """The same again is the same version."""
    video = (await world.partner("video")).partner
    assert await change(world, video, iban=IBAN) == await change(world, video, iban=IBAN)


async def test_of_two_changes_at_once_one_is_told(world: OAuthWorld) -> None:
    """Nobody overwrites what they have not seen: each change is there, or was refused."""
    video = (await world.partner("video")).partner
    ended = await asyncio.gather(
        *(change(world, video, name=f"Name {number}") for number in range(8)), return_exceptions=True
    )
    refused = [each for each in ended if isinstance(each, ValidationFailed)]
    assert all("at the same moment: look again" in each.message for each in refused)
    kept = await world.database["particulars"].find().to_list(None)
    assert len(kept) == len(ended) - len(refused) >= 1


@pytest.mark.parametrize(
    ("changes", "field", "complaint"),
    [
        ({"name": "  "}, "name", "has 1 to 70 printable characters in a line"),
        ({"name": "x" * 71}, "name", "has 1 to 70 printable characters in a line"),
        ({"address": ("a",) * 6}, "address", "has at most 5 lines"),
        ({"address": ("a\nb",)}, "address", "has 1 to 70 printable characters in a line"),
        ({"tax_number": "1" * 36}, "taxNumber", "has 1 to 35 printable characters in a line"),
        ({"iban": "DE88370400440532013000"}, "iban", "DE88370400440532013000 is no IBAN: is there a slip in it?"),
        ({"iban": "DE8937040044053201300"}, "iban", "DE8937040044053201300 is no IBAN: is there a slip in it?"),
        ({"iban": IBAN, "bic": "COBADEF"}, "bic", "COBADEF is no BIC, which has 8 or 11 characters"),
        ({"bic": "COBADEFFXXX"}, "bic", "is of an account: give its IBAN as well"),
    ],
)
async def test_what_cannot_be_is_refused(
    changes: dict[str, Any], field: str, complaint: str, world: OAuthWorld
) -> None:
    """With the field and the reason, and nothing is written."""
    video = (await world.partner("video")).partner
    with pytest.raises(ValidationFailed) as refused:
        await change(world, video, **changes)
    assert (refused.value.path, refused.value.message) == (["input", field], complaint)
    assert await world.database["particulars"].find().to_list(None) == []
