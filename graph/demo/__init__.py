"""The demo: an exchange to try things on, loaded as its users would load it.

Three partners, a video, a delivery and a rides platform, each with all three roles; an agreement for every pair of
them; 1,000 benefits (`benefits`); 200 members, each at home at one partner, linked to the other two by link codes, and
with points of all three; a few hundred redemptions, in a period that is closed. The next one is open, and empty.

Nothing is written past the domain: partners are onboarded, benefits published, commands submitted, the period closed.
So the demo has no history that did not happen; all of it happened in the seconds of its loading.

Loading again changes nothing. Every command has an idempotency key of its own, what is published is published alike,
and the last redemption, settled, tells that all is there; an exchange that was killed half-way goes on from there.
Credentials are kept by the exchange as hashes only, so `demo.json` is also their memory: what is in it and still
works stays, what does not is replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from strawberry import ID

from exchange.agreements import Agreement
from exchange.amounts import Money
from exchange.benefit import BenefitContent, Fulfilment, benefit_id
from exchange.commands import Award, ByReference, ByWallet, Command, LinkMember, Redeem
from exchange.errors import ValidationFailed
from exchange.rules import Rules
from exchange.store.catalog import Offer
from exchange.wallet import Wallet
from graph.demo.benefits import benefits, codes
from graph.identifiers import Identifiers, Kind
from graph.inputs import AwardPointsInput, LinkMemberInput, MemberBy, RedeemBenefitInput, fingerprint
from graph.scalars import CountryCode, Points
from graph.services import Services
from partners.registry import EXCHANGE, Client, Onboarded
from partners.staff import Staff

DAY_SECONDS: Final = 24 * 3600
MEMBERS: Final = 200

_GIFT_DAY_POINTS = 1_000
_IN_FLIGHT_MAX = 64
"""Members at once; each waits for its own steps, and the ledger commits all that wait together."""

_AFFORDABLE_POINTS = 1_250
_FEE_BASIS_POINTS = 150


class _Partner(NamedTuple):
    name: str
    reference: str


_PARTNERS: Final = {
    "video": _Partner("Lumen Video", "lumen-{:05d}"),
    "delivery": _Partner("Hurtig Delivery", "H{:06d}"),
    "rides": _Partner("Komet Rides", "rider-{:05d}"),
}

_AGREEMENTS: Final = {
    # (issuer, provider): euro cents for 1,000 points, and the channel's commission in basis points
    ("video", "delivery"): (800, 200),
    ("video", "rides"): (765, 250),
    ("delivery", "video"): (820, 200),
    ("delivery", "rides"): (790, 200),
    ("rides", "video"): (840, 300),
    ("rides", "delivery"): (775, 150),
}

_STAFF: Final = {
    "preparer": ("preparer@exchange.example", ("finance:view", "finance:prepare", "admin")),
    "approver": ("approver@exchange.example", ("finance:view", "finance:approve")),
}

_REGIONS: Final = ("DE", "DE", "DE", "AT", "DE", "CH", "DE", "FR", "DE", "NL")


@dataclass(frozen=True, slots=True)
class _Member:
    """One of the 200. `home` comes first in `references`, a reference by partner."""

    number: int
    home: str
    region: str
    references: dict[str, str]

    def dice(self, what: str) -> random.Random:
        """Return dice that always fall the same for this member."""
        return random.Random(f"{what} {self.number}")  # noqa: S311 - the same every time is what is wanted


class _Redemption(NamedTuple):
    key: str
    member: _Member
    channel: str
    content: BenefitContent
    provider: str


async def load_demo(
    services: Services, url: str, remembered: Mapping[str, Any] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Load what is missing and return what `demo.json` is to hold, with fresh tokens.

    `remembered`: what it held before. ValidationFailed if a partner of the demo's handle is not the demo's.
    """
    partners = {
        handle: await _partner(services, handle, name, ((remembered or {}).get("partners") or {}).get(handle))
        for handle, (name, _) in _PARTNERS.items()
    }
    await _Loading(services, say).run()
    clients: dict[str, Client] = {}
    for handle, onboarded in partners.items():
        client = await services.registry.client(onboarded.client_id)
        if client is not None:
            clients[handle] = client
    tokens = services.tokens
    return {
        "url": url,
        "graphql": f"{url}/graphql",
        "partners": {handle: _credentials(services, onboarded) for handle, onboarded in partners.items()},
        "members": [
            {
                "reference": member.references[member.home],
                "partner": member.home,
                "access_token": tokens.for_member(
                    clients[member.home], member.references[member.home], region=member.region,
                    lifetime_seconds=DAY_SECONDS,
                ),
            }
            for member in _members()
        ],
        "staff": {
            name: await _staff(services, email, roles, ((remembered or {}).get("staff") or {}).get(name))
            for name, (email, roles) in _STAFF.items()
        },
    }  # fmt: skip


# ---------------------------------------------------------------- credentials


async def _partner(services: Services, handle: str, name: str, remembered: Any) -> Onboarded:
    """Return the partner with credentials that work: new, as remembered, or replaced."""
    registry = services.registry
    partner = await registry.find(handle)
    if partner is None:
        return await registry.create(handle, name, now=await services.now())
    if partner.name != name:
        said = (
            f"the demo's partner {handle} would be {name}, here it is {partner.name}: give the demo a --data of its own"
        )
        raise ValidationFailed(said)
    if isinstance(remembered, Mapping):
        client_id, secret, key = (remembered.get(part) for part in ("client_id", "client_secret", "assertion_key"))
        client = await registry.client(str(client_id))
        if client is not None and client.partner == handle and _holds(services, client, str(secret), str(key)):
            return Onboarded(partner, client.client_id, str(secret), str(key))
    return await registry.reset_credentials(handle)


def _holds(services: Services, client: Client, secret: str, key: str) -> bool:
    """Tell whether these are the client's secret and private key."""
    try:
        kid = ECKey.import_key(key).thumbprint()
    except (JoseError, ValueError, TypeError):
        return False
    known = any(public["kid"] == kid for public in client.assertion_keys)
    return known and services.keyring.digest("client-secret", secret) in client.secret_hashes


def _credentials(services: Services, onboarded: Onboarded) -> dict[str, Any]:
    return {
        "id": Identifiers(services.keyring, None).of(onboarded.partner),
        "client_id": onboarded.client_id,
        "client_secret": onboarded.client_secret,
        "assertion_key": onboarded.assertion_key,
        "roles": [role.value for role in onboarded.partner.roles],
    }


async def _staff(services: Services, email: str, roles: tuple[str, ...], remembered: Any) -> dict[str, str]:
    password = str(remembered.get("password")) if isinstance(remembered, Mapping) else ""
    person: Staff | None = await services.staff.get(email)
    if person is None:
        engaged = await services.staff.create(email, roles, now=await services.now())
        person, password = engaged.staff, engaged.password
    elif not password or await services.staff.authenticate(email, password) is None:
        password = (await services.staff.reset_password(email)).password
    token = services.tokens.for_staff(person, lifetime_seconds=DAY_SECONDS)
    return {"email": email, "password": password, "access_token": token}


# ---------------------------------------------------------------- what there is to load


def _members() -> Iterator[_Member]:
    handles = list(_PARTNERS)
    for number in range(MEMBERS):
        at = number % len(handles)
        known = [*handles[at:], *handles[:at]]
        # Not one number everywhere: real partners' references have nothing in common either.
        references = {
            handle: _PARTNERS[handle].reference.format((number * 7919 + 104_729 * (place + 1)) % 90_000 + 10_000)
            for place, handle in enumerate(handles)
        }
        yield _Member(
            number, known[0], _REGIONS[number % len(_REGIONS)], {handle: references[handle] for handle in known}
        )


def _redemptions(catalog: Mapping[str, list[BenefitContent]]) -> Iterator[_Redemption]:
    """Yield the members' redemptions: nobody takes the same twice, and everybody has points left afterwards."""
    at_once = [
        (content, provider)
        for provider, contents in catalog.items()
        for content in contents
        if content.points_price <= _AFFORDABLE_POINTS and content.valid_from is None and content.valid_until is None
    ]
    for member in _members():
        dice = member.dice("redemptions")
        within_reach = [
            (content, provider)
            for content, provider in at_once
            if not content.regions or member.region in content.regions
        ]
        for number, (content, provider) in enumerate(dice.sample(within_reach, dice.choice((1, 1, 2, 2, 3)))):
            channel = dice.choice([member.home, *member.references])  # more often through the partner at home
            yield _Redemption(f"demo-redemption-{member.number}-{number}", member, channel, content, provider)


class _Loading:
    """One loading of the demo."""

    def __init__(self, services: Services, say: Callable[[str], None]) -> None:
        self._services = services
        self._say = say
        self._gate = asyncio.Semaphore(_IN_FLIGHT_MAX)
        self._ids = Identifiers(services.keyring, None)
        self._catalog: dict[str, list[BenefitContent]] = {}
        self._since: datetime

    async def run(self) -> None:
        services = self._services
        # The day on which the exchange began, not today: what is loaded again must be the same.
        self._since = (await services.registry.get(EXCHANGE)).created_at.replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        self._catalog = {handle: benefits(handle, self._since) for handle in _PARTNERS}
        redemptions = [self._redeem(each) for each in _redemptions(self._catalog)]
        if await self._is_settled(redemptions[-1]):
            return
        self._say("loading the demo: partners, benefits, members, redemptions")
        await services.ledger.start()
        await self._agree()
        await self._lay_down_rules()
        await asyncio.gather(*(self._publish(handle) for handle in _PARTNERS))
        await asyncio.gather(*(self._bring(member) for member in _members()))
        await asyncio.gather(*(self._submit(each) for each in redemptions[:-1]))
        await self._submit(redemptions[-1])  # after all others, because it tells that they are there
        await services.settlement.close(await self._period_of(redemptions[-1]) or 0)

    async def _is_settled(self, redeem: Redeem) -> bool:
        number = await self._period_of(redeem)
        period = None if number is None else await self._services.settlement.period(number)
        return period is not None and period.statements is not None

    async def _period_of(self, redeem: Redeem) -> int | None:
        """Return the period that a redemption was made in; None as long as it was not."""
        made = (await self._services.members.redemptions([redeem.id])).get(redeem.id)
        return None if made is None else made.period

    async def _submit(self, command: Command) -> Wallet:
        async with self._gate:
            return (await self._services.ledger.submit(command)).wallet

    async def _agree(self) -> None:
        services = self._services
        agreed = {(agreement.issuer, agreement.provider) for agreement in await services.terms.list()}
        for (issuer, provider), (cents, commission) in _AGREEMENTS.items():
            if (issuer, provider) not in agreed:
                await services.terms.add(
                    Agreement(
                        id="", version=0, issuer=issuer, provider=provider, price_per_1000_points=Money(cents, "EUR"),
                        fee_basis_points=_FEE_BASIS_POINTS, commission_basis_points=commission,
                        effective_from=await services.now(),
                    )
                )  # fmt: skip

    async def _lay_down_rules(self) -> None:
        """Let members give points away, so that gifts and households can be tried."""
        for handle in _PARTNERS:
            if not await self._services.terms.rules(handle):
                await self._services.terms.set_rules(
                    Rules(partner=handle, gift_day_points=_GIFT_DAY_POINTS, time_zone="Europe/Berlin")
                )

    async def _publish(self, handle: str) -> None:
        catalog, contents = self._services.catalog, self._catalog[handle]
        await catalog.publish(handle, [Offer(content) for content in contents])
        for content in contents:
            if content.fulfilment is Fulfilment.INSTANT_CODE:
                await catalog.add_codes(handle, content.sku, codes(content))

    # ------------------------------------------------------------ members

    async def _bring(self, member: _Member) -> None:
        """Bring a member into being at home, link it to the other partners, and give it points of each."""
        dice = member.dice("points")
        await self._submit(self._award(member, member.home, "welcome", 1_500, "welcome", None))
        wallet = await self._submit(
            self._award(member, member.home, "earned", dice.randrange(1_000, 6_000, 10), "purchases", 365)
        )
        for partner in list(member.references)[1:]:
            wallet = await self._link(member, partner, wallet)
            expires = dice.choice((90, 180, None))
            await self._submit(
                self._award(member, partner, "earned", dice.randrange(1_000, 4_000, 10), "purchases", expires)
            )

    def _award(self, member: _Member, issuer: str, name: str, points: int, reason: str, days: int | None) -> Award:
        reference, key = member.references[issuer], f"demo-{name}-{member.number}"
        expires_at = None if days is None else self._since + timedelta(days=days)
        asked = AwardPointsInput(
            member=MemberBy(reference=reference), points=Points(points), reason=reason, expires_at=expires_at,
            idempotency_key=key,
        )  # fmt: skip
        return Award(
            **self._identity(issuer, "awardPoints", key, asked), whose=ByReference(issuer, reference), points=points,
            expires_at=expires_at, reason=reason,
        )  # fmt: skip

    async def _link(self, member: _Member, partner: str, wallet: Wallet) -> Wallet:
        if wallet.link(partner) is not None:
            return wallet
        reference = member.references[partner]
        code = await self._services.members.create_link_code(wallet.id, partner, None)
        asked = LinkMemberInput(code=code.code, reference=reference)
        return await self._submit(
            LinkMember(
                **self._identity(partner, "linkMember", code.code, asked), whose=ByWallet(wallet.id),
                reference=reference, daily_limit=None, code_made_at=code.made_at, code_expires_at=code.expires_at,
            )
        )  # fmt: skip

    def _redeem(self, each: _Redemption) -> Redeem:
        member, reference = each.member, each.member.references[each.channel]
        benefit = benefit_id(each.provider, each.content.sku)
        asked = RedeemBenefitInput(
            benefit=ID(self._services.keyring.seal(f"{Kind.BENEFIT}:{benefit}", "")),
            member=MemberBy(reference=reference), region=CountryCode(member.region), idempotency_key=each.key,
        )  # fmt: skip
        return Redeem(
            **self._identity(each.channel, "redeemBenefit", each.key, asked),
            whose=ByReference(each.channel, reference), benefit=benefit, region=member.region,
        )  # fmt: skip

    def _identity(self, partner: str, operation: str, key: str, asked: Any) -> dict[str, Any]:
        """Return a command's identity as the API would give it, so that the same request by API is a replay."""
        entry = self._services.ledger.entry_id(partner, "server", operation, key)
        return {"id": entry, "fingerprint": fingerprint(asked), "partner": partner}
