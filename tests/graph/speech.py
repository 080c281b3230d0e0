"""The words in which tests speak to the gateway: always over HTTP, always with a real token.

    await world.award("video", "anna", 100)
    taken = await world.redeem("anna@video", ride)

A caller is "video" (that partner's own server), "anna@video" (the member that video calls anna, through video's app),
"admin", "preparer", "approver", "second" (approver) or "viewer" (the exchange's staff), or a `Token`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette

from exchange.check import check
from exchange.journal import milliseconds
from exchange.rules import Rules
from graph.services import Services
from partners.oauth.clock import system_clock
from partners.registry import Onboarded, PartnerRole
from partners.staff import Staff

ISSUER = "http://127.0.0.1:8000"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
STAFF = {
    "admin": ("admin",),
    "preparer": ("finance:view", "finance:prepare"),
    "viewer": ("finance:view",),
    "approver": ("finance:view", "finance:approve"),
    "second": ("finance:view", "finance:approve"),
}

BENEFIT = """
fragment benefit on Benefit {
  id sku category status title description imageUrl terms redeemInstructions pointsPrice
  partner { id handle } faceValue { amount currency } validFrom validUntil regions tags fulfilment version
}"""
REDEMPTION = """
fragment redemption on Redemption {
  id quantity points status codes reservedUntil createdAt updatedAt
  benefit { id sku } member { id reference } channel { handle }
  debits { issuer { handle } points owed { amount currency } }
}"""
WALLET = (
    "fragment wallet on Wallet { balance held available lots { nodes { id awarded remaining issuer { handle } } } }"
)
EXPOSURE = """
fragment exposure on Exposure { currency version since low lowBalance { amount } cap { amount } paid { amount }
  used { amount } left { amount } notices { at clearedAt left { amount currency } } }"""
SIGN_OFF = """
fragment signOff on Statement { id hash status approvals approvalsNeeded paid { amount currency }
  period { status settledAt } history { nodes { step at status by note hash statementHash amount { amount } } } }"""
DISPUTE = """
fragment dispute on Dispute { id status round deadline reason kind entry statementHash amount { amount currency }
  net { amount } award { amount } partner { handle } counterparty { handle } waitingFor { handle } period { number }
  adjustment adjustedIn { number }
  records { step at status deadline text link sha256 hash award { amount } party { handle } } }"""
BARTER = """
fragment barter on Barter { id version stage effectiveFrom until reference recordedBy
  balance { amount currency }
  sides { issuer { handle } provider { handle } quota { amount } used { amount } left { amount }
    inKind { amount } } }"""
EXPORT = """
fragment export on Export { id status format statement { id hash } progress { done total } askedAt fileName mediaType
  bytes sha256 expiresAt error url }"""
NETTING = """
fragment netting on Netting { period { number } recordedAt recordedBy hash follows standingPolicy plan
  minimums { amount currency } groups { parent { handle } members { handle } } settle { partner { handle } currency }
  fix { id } without { handle }
  standings { partner { handle } settledBy { handle } opening { amount } payable { amount } receivable { amount }
    fees { amount } net { amount currency } }
  nets { partner { handle } amount { amount } }
  measures { gross { amount } bilateral { amount } multilateral { amount } efficiencyBasisPoints }
  barters { barter ended balance { amount } due { from { handle } to { handle } amount { amount } }
    sides { issuer { handle } inKind { amount } used { amount } left { amount } } }
  payments { from { handle } to { handle } amount { amount currency } }
  carried { from { handle } to { handle } amount { amount currency } }
  conversions { partner { handle } amount { amount currency } converted { amount currency } }
  conversionAccount { amount currency }
  changes { partner { handle } before { amount } after { amount } difference { amount } } }"""
DUE = """
fragment due on DuePayment { reference since partner { handle } statement { id } amount { amount currency }
  whole { amount } }"""
EXCEPTION = """
fragment exception on PaymentException { id kind file movements { line date text amount { amount currency } }
  dues { ...due } resolved { reason by pays amount { amount } } }"""
BANK_FILE = """
fragment bankFile on BankFile { number hash name uploadedAt by movementCount matchedCount knownCount exceptionCount
  matches { nodes { how movements { line date name bankReference amount { amount } } dues { ...due } } }
  exceptions { nodes { ...exception } } }"""
USAGE = """
fragment usage on ReconcileUsageSuccess { compared rows agreed missingHere missingThere differs rejectedRows
  statement { id } rejections { line field reason }
  totals { currency ours { ...figures } theirs { ...figures } }
  differences { pageInfo { hasNextPage endCursor }
    nodes { kind entry currency day line ours { ...figures } theirs { ...figures } } } }"""
FIGURES = "fragment figures on UsageFigures { points gross { amount } fee { amount } net { amount currency } }"
LOT = "fragment lot on Lot { id awarded remaining held given withdrawn frozen activeFrom expiresAt issuer { handle } }"
POINTS = (
    "fragment points on Wallet { balance held available pending frozen debts { issuer { handle } points }"
    " lots { nodes { ...lot } } }"
)
LINKS = "fragment links on Member { id reference links { partner { handle } since dailyLimit } }"

SUCCESS = {
    "publishBenefits": "... on PublishBenefitsSuccess { created updated unchanged benefits { ...benefit } }"
    "... on VersionConflict { currentVersion }",
    "addCodes": "... on AddCodesSuccess { added duplicates remaining }",
    "awardPoints": "... on AwardPointsSuccess { replayed member { id reference } wallet { ...wallet }"
    " lot { id awarded remaining held expiresAt issuer { handle } } }",
    "reverseAward": "... on ReverseAwardSuccess { replayed taken debt member { id reference } lot { ...lot }"
    " wallet { ...points } } ... on InsufficientPoints { required available }",
    **dict.fromkeys(
        ("extendPoints", "adjustPoints", "freezeLot", "unfreezeLot", "freezeMember", "unfreezeMember"),
        "... on PointsSuccess { replayed member { id reference } lot { ...lot } wallet { ...points } }"
        "... on InsufficientPoints { required available }",
    ),
    "givePoints": "... on GivePointsSuccess { replayed member { id reference } wallet { ...points"
    " lots { nodes { ...lot } } } } ... on InsufficientPoints { required available }",
    "redeemBenefit": "... on RedeemBenefitSuccess { replayed redemption { ...redemption } wallet { ...wallet } }"
    "... on InsufficientPoints { required available } ... on BenefitUnavailable { reasons }"
    "... on PriceChanged { pointsPrice }",
    "reserveBenefit": "... on RedeemBenefitSuccess { replayed redemption { ...redemption } wallet { ...wallet } }"
    "... on InsufficientPoints { required available } ... on BenefitUnavailable { reasons }"
    "... on PriceChanged { pointsPrice }",
    "quoteRedemption": "... on Quote { id points expiresAt benefit { id sku }"
    " debits { issuer { handle } points owed { amount currency } } }"
    "... on InsufficientPoints { required available } ... on BenefitUnavailable { reasons }",
    **dict.fromkeys(
        (f"{step}Redemption" for step in ("confirm", "cancel", "fulfil", "fail", "reverse")),
        "... on RedemptionActionSuccess { replayed redemption { ...redemption } }... on InvalidTransition { status }",
    ),
    **dict.fromkeys(
        ("foundHousehold", "joinHousehold", "leaveHousehold", "payIntoPool", "drawFromPool"),
        "... on HouseholdSuccess { replayed member { id reference wallet { ...wallet }"
        " household { size pool { ...wallet } members { id reference } } } }"
        "... on InsufficientPoints { required available }",
    ),
    "inviteToHousehold": "... on Invitation { invitation: code expiresAt }",
    "createLinkCode": "... on LinkCode { linkCode: code expiresAt }",
    "unlinkPartner": "... on UnlinkPartnerSuccess { member { ...links } }",
    "linkMember": "... on LinkMemberSuccess { member { ...links } }",
    **dict.fromkeys(
        ("mergeMembers", "undoMerge"),
        "... on MergeMembersSuccess { replayed member { ...links wallet { ...wallet } } }",
    ),
    "setAgreement": "... on Agreement { id version effectiveFrom issuer { handle } provider { handle }"
    " pricePer1000Points { amount currency } feeBasisPoints commissionBasisPoints }",
    "setExposureCap": "... on SetExposureCapSuccess { version exposure { ...exposure } }"
    "... on VersionConflict { currentVersion }",
    "recordFunding": "... on RecordFundingSuccess { replayed amount { amount currency }"
    " partner { handle exposures { ...exposure } } }",
    **dict.fromkeys(
        ("setRules", "freezePartner", "unfreezePartner", "freezeBenefit", "unfreezeBenefit"),
        "... on Rules { version since awardReversal giftDayPoints timeZone frozen velocity { windowSeconds"
        " redemptionsMax pointsMax pointsFrom benefit { sku } } } ... on VersionConflict { currentVersion }",
    ),
    **dict.fromkeys(
        (*(f"{step}Statement" for step in ("review", "approve", "reject", "instruct", "reconcile")), "recordPayment"),
        "... on SignStatementSuccess { replayed statement { ...signOff } } ... on InvalidSignOff { status }",
    ),
    "setSignOffPolicy": "... on SignOffPolicy { version tiers { approvers amount { amount currency } } }"
    "... on VersionConflict { currentVersion }",
    **dict.fromkeys(
        ("openDispute", "answerDispute", "withdrawDispute", "concedeDispute", "resolveDispute"),
        "... on DisputeSuccess { replayed dispute { ...dispute } } ... on InvalidDispute { status }",
    ),
    "exportStatement": "... on Export { ...export }",
    "setPeriodCalendar": "... on PeriodCalendar { version every on at timeZone reviewDays businessDays }"
    " ... on VersionConflict { currentVersion }",
    "addBarter": "... on Barter { ...barter }",
    "endBarter": "... on Barter { ...barter }",
    "recordNetting": "... on RecordNettingSuccess { replayed netting { ...netting } }",
    "setNettingPolicy": "... on NettingPolicy { version plan minimums { amount currency }"
    " groups { parent { handle } members { handle } } settle { partner { handle } currency } }"
    " ... on VersionConflict { currentVersion }",
    "importFixes": "... on ImportFixesSuccess { added known first { id } last { id date } }",
    "uploadBankFile": "... on UploadBankFileSuccess { replayed file { ...bankFile } }",
    "resolvePaymentException": "... on ResolvePaymentExceptionSuccess { replayed"
    " resolution { reason by at pays amount { amount currency } } }",
    "recordBankFilePayments": "... on RecordBankFilePaymentsSuccess { file { number }"
    " payments { pageInfo { hasNextPage endCursor } nodes { replayed due { ...due } statement { ...signOff }"
    " refused { __typename code message path ... on InvalidSignOff { status } } } } }",
    "reconcileBankFile": "... on ReconcileBankFileSuccess { statements { pageInfo { hasNextPage endCursor }"
    " nodes { replayed statement { ...signOff } refused { __typename code message path } } } }",
    "reconcileUsage": "... on ReconcileUsageSuccess { ...usage }",
    "closePeriod": "... on ClosePeriodSuccess { period { id number status closedAt root } next { id number status } }",
}
FRAGMENTS = {
    "signOff": SIGN_OFF,
    "dispute": DISPUTE,
    "export": EXPORT,
    "due": DUE,
    "bankFile": f"{BANK_FILE} {EXCEPTION} {DUE}",
    "usage": f"{USAGE} {FIGURES}",
    "exposure": EXPOSURE,
    "netting": NETTING,
    "barter": BARTER,
    "benefit": BENEFIT,
    "redemption": REDEMPTION,
    "wallet": WALLET,
    "links": LINKS,
    "lot": LOT,
    "points": POINTS,
}

Payload = dict[str, Any]


class Token(str):
    """A bearer token, where a test wants a certain one."""

    __slots__ = ()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer to a GraphQL request."""

    status: int
    headers: httpx.Headers
    body: Payload

    @property
    def data(self) -> Payload:
        """The data of an answer without errors."""
        assert self.status == 200, self.body
        assert "errors" not in self.body, self.body
        data: Payload = self.body["data"]
        return data

    @property
    def codes(self) -> list[str]:
        """The codes of its errors."""
        return [error["extensions"]["code"] for error in self.body.get("errors", ())]

    @property
    def told(self) -> tuple[int, str]:
        """All that a caller can learn of it: status and text."""
        return self.status, json.dumps(self.body, sort_keys=True)


def input_type(mutation: str) -> str:
    """Return the type of a mutation's input: the steps of a redemption share one."""
    shared = {
        "quoteRedemption": "QuoteInput", "foundHousehold": "HouseholdInput", "leaveHousehold": "HouseholdInput",
        "unfreezePartner": "FreezePartnerInput", "unfreezeBenefit": "FreezeBenefitInput",
        "payIntoPool": "PoolInput", "drawFromPool": "PoolInput", "inviteToHousehold": "InviteInput",
        **dict.fromkeys(("answerDispute", "withdrawDispute", "concedeDispute"), "DisputeActionInput"),
        **dict.fromkeys(("recordBankFilePayments", "reconcileBankFile"), "BankFileInput"),
        "unfreezeLot": "FreezeLotInput", "unfreezeMember": "FreezeMemberInput",
        "exportStatement": "ExportStatementInput",
    }  # fmt: skip
    if mutation in shared:
        return shared[mutation]
    if mutation.endswith("Statement"):
        return "SignStatementInput"
    return "RedemptionActionInput" if mutation.endswith("Redemption") else f"{mutation[0].upper()}{mutation[1:]}Input"


def document(mutation: str, selection: str) -> str:
    """Return the document of a mutation that shows everything that can come of it."""
    kind = input_type(mutation)
    used = "".join(text for name, text in FRAGMENTS.items() if f"...{name} " in f"{selection} ")
    refused = "... on UserError { code message retryable path } ... on Forbidden { requiredScope }"
    shown = f"__typename {refused} {selection}"
    return f"mutation($input: {kind}!) {{ {mutation}(input: $input) {{ {shown} }} }} {used}"


def at(moment: datetime) -> str:
    """Return a moment as GraphQL's DateTime."""
    return milliseconds(moment)


@dataclass
class World:
    """One running exchange, its partners, and what can be said to it."""

    app: Starlette
    http: httpx.AsyncClient
    services: Services
    partners: dict[str, Onboarded] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    _tokens: dict[str, Token] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: count(1))

    # ------------------------------------------------------------ who is there

    def fresh(self, kind: str) -> str:
        """Return a name that nobody has yet."""
        return f"{kind}-{next(self._numbers)}"

    async def onboard(self, handle: str, *roles: PartnerRole) -> str:
        """Onboard a partner."""
        now = await self.services.now()
        self.partners[handle] = await self.services.registry.create(
            handle, handle.title(), now=now, roles=roles or None
        )
        self.ids[handle] = (await self.read(handle, "{ viewer { partner { id } } }"))["partner"]["id"]
        return handle

    async def token(
        self, who: str, scope: str | None = None, *, region: str | None = None, sub: str | None = None
    ) -> Token:
        """Return a token of a partner's server, a member or the staff; `scope` instead of all that there are."""
        if isinstance(who, Token):
            return who
        name = f"{who} {scope} {region} {sub}"
        if name not in self._tokens:
            self._tokens[name] = Token(await self._token(who, scope, region, sub))
        return self._tokens[name]

    async def _token(self, who: str, scope: str | None, region: str | None, sub: str | None) -> str:
        if who in STAFF or who == "staff":
            roles = STAFF[who] if scope is None else tuple(scope.split())
            staff = Staff(f"{who}@exchange.test", roles, must_change=False, created_at=await self.services.now())
            return self.services.tokens.for_staff(staff)
        member, _, handle = who.rpartition("@")
        partner = self.partners[handle]
        form = {} if scope is None else {"scope": scope}
        if member or sub is not None:
            form |= {"grant_type": JWT_BEARER, "assertion": self.assertion(handle, sub or member, region=region)}
            answer = await self.http.post("/oauth/token", data=form)
        else:
            form["grant_type"] = "client_credentials"
            answer = await self.http.post("/oauth/token", data=form, auth=(partner.client_id, partner.client_secret))
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    def assertion(self, handle: str, member: str, *, region: str | None = None) -> str:
        """Sign for a member as its partner's server does."""
        partner = self.partners[handle]
        now = int(system_clock())
        claims: dict[str, Any] = {
            "iss": partner.client_id, "sub": member, "aud": ISSUER, "iat": now, "exp": now + 300,
            "jti": secrets.token_urlsafe(16),
        }  # fmt: skip
        if region is not None:
            claims["region"] = region
        assert partner.assertion_key is not None
        return jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(partner.assertion_key), ["ES256"])

    # ------------------------------------------------------------ asking

    async def ask(self, who: str, document: str, /, **variables: Any) -> Answer:
        """Send a document."""
        headers = {"Authorization": f"Bearer {await self.token(who)}"}
        answer = await self.http.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
        return Answer(answer.status_code, answer.headers, answer.json())

    async def read(self, who: str, document: str, /, **variables: Any) -> Any:
        """Send a document of one field and return the field; there must be no error."""
        data = (await self.ask(who, document, **variables)).data
        assert len(data) == 1
        return next(iter(data.values()))

    async def close_period(self) -> int:
        """Close the open period, and return its number."""
        opened: int = (await self.read("viewer", "{ period { number } }"))["number"]
        await self.done("preparer", "closePeriod", number=opened)
        return opened

    async def do(self, who: str, mutation: str, /, **given: Any) -> Payload:
        """Send a mutation and return its payload: a refusal is one too."""
        payload: Payload = (await self.send(who, mutation, **given)).data[mutation]
        return payload

    async def send(self, who: str, mutation: str, /, **given: Any) -> Answer:
        """Send a mutation."""
        return await self.ask(who, document(mutation, SUCCESS[mutation]), input=given)

    async def done(self, who: str, mutation: str, /, **given: Any) -> Payload:
        """Send a mutation that must succeed."""
        payload = await self.do(who, mutation, **given)
        assert "retryable" not in payload, payload
        return payload

    async def change(self, who: str, mutation: str, /, **given: Any) -> Payload:
        """Send a mutation under a key of its own; it must succeed."""
        return await self.done(who, mutation, idempotencyKey=self.fresh(mutation), **given)

    async def refused(self, who: str, mutation: str, /, **given: Any) -> Payload:
        """Send a mutation under a key of its own, which must be refused."""
        payload = await self.do(who, mutation, **{"idempotencyKey": self.fresh(mutation), **given})
        assert "retryable" in payload, payload
        return payload

    async def rules(self, partner: str, **said: Any) -> None:
        """Let a partner lay down these rules and no others."""
        versions = await self.services.terms.rules(partner)
        version = versions[0].version if versions else 0
        await self.services.terms.set_rules(Rules(partner=partner, version=version, **said))

    async def prove(self) -> None:
        """Hold the whole database to the invariants."""
        proofs = await check(self.services.db, self.services.keyring)
        assert {proof.number: proof.wrong for proof in proofs if not proof.holds} == {}

    # ------------------------------------------------------------ the trade

    async def publish(self, partner: str, price: int = 100, **content: Any) -> Payload:
        """Publish one benefit, of a fresh SKU unless it is given, and return it."""
        benefit = benefit_input(price, **{"sku": self.fresh("sku"), **content})
        payload = await self.done(partner, "publishBenefits", benefits=[benefit])
        published: Payload = payload["benefits"][0]
        return published

    async def award(self, issuer: str, member: str, points: int, *, key: str | None = None, **more: Any) -> Payload:
        """Award points to the member that `issuer` calls so."""
        return await self.done(
            issuer, "awardPoints", member={"reference": member}, points=str(points),
            idempotencyKey=key or self.fresh("award"), **more,
        )  # fmt: skip

    async def try_redeem(self, who: str, benefit: Mapping[str, Any] | str, /, **more: Any) -> Payload:
        """Redeem: "anna@video" by her token, "anna@video's server" by the partner."""
        named, caller = self._redeeming(who, benefit, more)
        return await self.do(caller, "redeemBenefit", **named)

    async def redeem(self, who: str, benefit: Mapping[str, Any] | str, /, **more: Any) -> Payload:
        """Redeem, which must succeed, and return the redemption."""
        payload = await self.try_redeem(who, benefit, **more)
        assert payload["__typename"] == "RedeemBenefitSuccess", payload
        redemption: Payload = payload["redemption"]
        return redemption

    async def try_reserve(self, who: str, benefit: Mapping[str, Any] | str, /, **more: Any) -> Payload:
        """Reserve, as `try_redeem` redeems."""
        named, caller = self._redeeming(who, benefit, more)
        return await self.do(caller, "reserveBenefit", **named)

    async def reserve(self, who: str, benefit: Mapping[str, Any] | str, /, **more: Any) -> Payload:
        """Reserve, which must succeed, and return the redemption."""
        payload = await self.try_reserve(who, benefit, **more)
        assert payload["__typename"] == "RedeemBenefitSuccess", payload
        redemption: Payload = payload["redemption"]
        return redemption

    async def quote(self, who: str, benefit: Mapping[str, Any], /, **more: Any) -> Payload:
        """Ask for a quote."""
        named, caller = self._redeeming(who, benefit, more)
        named.pop("idempotencyKey")
        return await self.do(caller, "quoteRedemption", **named)

    async def step(self, who: str, step: str, redemption: Mapping[str, Any], /, **more: Any) -> Payload:
        """Take a step of a redemption's life: confirm, cancel, fulfil, fail, reverse."""
        given = {"idempotencyKey": self.fresh(step), **more}
        return await self.do(who, f"{step}Redemption", redemption=redemption["id"], **given)

    def _redeeming(
        self, who: str, benefit: Mapping[str, Any] | str, more: Mapping[str, Any]
    ) -> tuple[dict[str, Any], str]:
        given = {"benefit": benefit if isinstance(benefit, str) else benefit["id"], **more}
        given.setdefault("idempotencyKey", self.fresh("redeem"))
        if who.endswith("'s server"):
            member, _, partner = who.removesuffix("'s server").partition("@")
            return {"member": {"reference": member}, **given}, partner
        return given, who

    async def link(self, who: str, to: str, reference: str | None = None, daily_limit: int | None = None) -> Payload:
        """Link the member that asks, "anna@video", to a second partner, which calls it `reference`; return it."""
        given = {} if daily_limit is None else {"dailyLimit": str(daily_limit)}
        code = (await self.done(who, "createLinkCode", partner=self.ids[to], **given))["linkCode"]
        linked = await self.done(to, "linkMember", code=code, reference=reference or who.partition("@")[0])
        member: Payload = linked["member"]
        return member

    async def try_merge_code(self, who: str) -> Payload:
        """Ask for a code by which another member becomes the one that asks: "anna@video"."""
        refused = "... on UserError { code message retryable path } ... on Forbidden { requiredScope }"
        shown = f"__typename {refused} ... on MergeCode {{ mergeCode: code expiresAt }}"
        payload: Payload = await self.read(who, f"mutation {{ createMergeCode {{ {shown} }} }}")
        return payload

    async def merge_code(self, who: str) -> str:
        """Return such a code."""
        code: str = (await self.try_merge_code(who))["mergeCode"]
        return code

    async def merge(self, who: str, into: str) -> Payload:
        """Make the member that asks the other one, "bob@rides" into "anna@video", and return it."""
        merged = await self.done(who, "mergeMembers", code=await self.merge_code(into))
        member: Payload = merged["member"]
        return member

    async def agree(
        self, issuer: str | None, provider: str | None, price: str, currency: str = "EUR", **more: Any
    ) -> Payload:
        """Set what 1,000 points of an issuer cost it at a provider."""
        sides = {"issuer": issuer, "provider": provider}
        named = {side: self.ids[handle] for side, handle in sides.items() if handle is not None}
        price_of = {"amount": price, "currency": currency}
        return await self.done("admin", "setAgreement", pricePer1000Points=price_of, **named, **more)

    async def member(self, partner: str, member: str) -> Payload:
        """Show a member as a partner's server sees it."""
        query = "query($r: String!) { member(by: {reference: $r}) { ...links wallet { ...wallet } } }"
        found: Payload = await self.read(partner, f"{query} {LINKS} {WALLET}", r=member)
        return found

    async def balance(self, partner: str, member: str) -> int:
        """Return a member's balance as a partner's server sees it."""
        return int((await self.member(partner, member))["wallet"]["balance"])

    async def points(self, partner: str, member: str) -> Payload:
        """Return all that can be said of a member's points, as a partner's server sees it."""
        query = "query($r: String!) { member(by: {reference: $r}) { wallet { ...points } } }"
        found: Payload = (await self.read(partner, f"{query} {POINTS} {LOT}", r=member))["wallet"]
        return found

    async def availability(self, who: str, benefit: Mapping[str, Any]) -> Payload:
        """Return whether the viewer can redeem it."""
        query = """query($id: ID!) { benefit(by: {id: $id}) {
            availability { redeemable remaining memberRemaining reasons } } }"""
        found: Payload = (await self.read(who, query, id=benefit["id"]))["availability"]
        return found


def benefit_input(price: int = 100, **content: Any) -> dict[str, Any]:
    """Return a BenefitInput."""
    return {"category": "OTHER", "title": "Something good", "pointsPrice": str(price), **content}


def refusal(payload: Payload, code: str, path: list[str] | None, *, retryable: bool = False, **extra: Any) -> bool:
    """Check that a payload is this refusal, in every field."""
    name = "ValidationError" if code == "VALIDATION_ERROR" else code.title().replace("_", "")
    message = payload.get("message")
    expected = {"__typename": name, "code": code, "path": path, "retryable": retryable, "message": message, **extra}
    if code == "FORBIDDEN":
        expected = {"requiredScope": None, **expected}
    assert payload == expected, payload
    assert isinstance(message, str)
    assert message
    return True
