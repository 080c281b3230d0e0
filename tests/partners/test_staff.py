from __future__ import annotations

import pytest

from exchange.errors import NotFound, ValidationFailed
from partners.oauth.scopes import STAFF_SCOPES

from .conftest import OAuthWorld


async def test_roles_are_exactly_what_was_given(world: OAuthWorld) -> None:
    """Approving implies neither viewing nor anything else."""
    engaged = await world.staff.create("Ada@Example.com ", ["finance:approve"], now=world.time)
    assert engaged.staff.roles == ("finance:approve",)
    assert await world.staff.get("ada@example.com") == engaged.staff


async def test_roles_have_one_order(world: OAuthWorld) -> None:
    """However they are given, and however often, roles are listed in one order and once."""
    engaged = await world.staff.create("a@b.c", [*reversed(STAFF_SCOPES), "admin"], now=world.time)
    assert engaged.staff.roles == STAFF_SCOPES


@pytest.mark.parametrize("roles", [[], ["finance"], ["admin", "root"], ["benefits:read"]])
async def test_an_unknown_role_is_refused(world: OAuthWorld, roles: list[str]) -> None:
    """A role that does not exist engages nobody; nor does none."""
    with pytest.raises(ValidationFailed):
        await world.staff.create("a@b.c", roles, now=world.time)
    assert await world.staff.get("a@b.c") is None


@pytest.mark.parametrize("email", ["", "a", "@b", "a@", "a b@c", "a@b\x00", "a@b@c", "a" * 65 + "@b"])
async def test_what_is_no_address_is_refused(world: OAuthWorld, email: str) -> None:
    """Staff are known by an e-mail address that could be one."""
    with pytest.raises(ValidationFailed):
        await world.staff.create(email, ["admin"], now=world.time)


async def test_an_address_is_engaged_once(world: OAuthWorld) -> None:
    """A second person cannot take over an address, in whatever case it is written."""
    await world.staff.create("a@b.c", ["finance:view"], now=world.time)
    with pytest.raises(ValidationFailed):
        await world.staff.create("A@B.C", ["admin"], now=world.time)


async def test_the_password_is_hashed_by_argon2id_and_one_time(world: OAuthWorld) -> None:
    """The password rests as an Argon2id hash, opens for its owner alone, and must be changed."""
    engaged = await world.staff.create("a@b.c", ["admin"], now=world.time)
    stored = await world.database["staff"].find_one({"_id": "a@b.c"})
    assert stored is not None
    assert stored["password"].startswith("$argon2id$")
    assert engaged.staff.must_change
    assert await world.staff.authenticate("a@b.c", engaged.password) == engaged.staff
    assert await world.staff.authenticate("a@b.c", engaged.password + "x") is None
    assert await world.staff.authenticate("b@b.c", engaged.password) is None


async def test_a_password_can_be_reset(world: OAuthWorld) -> None:
    """A reset ends the old password and gives a new one-time one; a stranger has none to reset."""
    engaged = await world.staff.create("a@b.c", ["admin"], now=world.time)
    again = await world.staff.reset_password("a@b.c")
    assert again.staff == engaged.staff
    assert await world.staff.authenticate("a@b.c", engaged.password) is None
    assert await world.staff.authenticate("a@b.c", again.password) == again.staff
    with pytest.raises(NotFound):
        await world.staff.reset_password("b@b.c")
