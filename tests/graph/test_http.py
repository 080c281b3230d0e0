"""GraphQL over HTTP: what is accepted, what is answered, and what is never told."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import httpx
import pytest
from graphql import get_introspection_query
from pymongo.errors import OperationFailure

from graph.limits import BODY_BYTES_MAX, DEPTH_MAX, FIELDS_MAX
from tests.graph.speech import ISSUER, Token, World

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
VIEWER = "{ viewer { partner { handle } } }"
SEEN = {"data": {"viewer": {"partner": {"handle": "video"}}}}


async def send(
    world: World, content: bytes | str | None = None, *, method: str = "POST", token: str | None = "", **headers: str
) -> httpx.Response:
    """Send bytes as they are; by video's token unless there is another, or None."""
    sent = {"Content-Type": JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if token is not None:
        sent["Authorization"] = f"Bearer {token or await world.token('video')}"
    return await world.http.request(method, "/graphql", content=content, headers={k: v for k, v in sent.items() if v})


def asked(query: str = VIEWER, **more: Any) -> bytes:
    return json.dumps({"query": query, **more}).encode()


def code(answer: httpx.Response) -> str:
    """Return the code of an answer's only error; it must look like a GraphQL error."""
    (error,) = answer.json()["errors"]
    assert set(error) <= {"message", "locations", "path", "extensions"}
    assert isinstance(error["message"], str)
    assert "Traceback" not in answer.text
    found: str = error["extensions"]["code"]
    return found


# ---------------------------------------------------------------- negotiation


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, GRAPHQL),
        ("*/*", GRAPHQL),
        ("application/*", GRAPHQL),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL),
        (f"{GRAPHQL};q=0.5, {JSON}", JSON),
        (f"{GRAPHQL};q=0, */*", JSON),
        (JSON, JSON),
        ("Application/JSON", JSON),
        ("text/html, */*;q=0.1", GRAPHQL),
    ],
)
async def test_the_answer_comes_in_the_type_that_is_liked_best(world: World, accept: str | None, media: str) -> None:
    """`Accept` chooses between application/graphql-response+json, which is ours, and application/json."""
    answer = await send(world, asked(), Accept=accept or "")
    assert answer.headers["content-type"].partition(";")[0] == media
    assert (answer.status_code, answer.json()) == (200, SEEN)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", ["text/html", "image/png", f"{JSON};q=0", f"{JSON};q=nonsense"])
async def test_an_answer_in_another_type_there_is_none(world: World, accept: str) -> None:
    """What accepts neither type gets 406."""
    answer = await send(world, asked(), Accept=accept)
    assert (answer.status_code, code(answer)) == (406, "BAD_USER_INPUT")


@pytest.mark.parametrize(
    ("query", "variables", "status", "codes"),
    [
        ("{ viewer { partner { handle } } }", {}, 200, []),
        ('{ period(number: 1) { number } partner(handle: "rides") { benefits(first: -1) { totalCount } } }', {}, 200,
         ["BAD_USER_INPUT"]),
        ("{ viewer { ", {}, 400, ["GRAPHQL_PARSE_FAILED"]),
        ("", {}, 400, ["GRAPHQL_PARSE_FAILED"]),
        ("{ viewer { nonsense } }", {}, 400, ["GRAPHQL_VALIDATION_FAILED"]),
        ("query($p: Points!) { viewer { scopes } benefits(filter: {pointsPriceMax: $p}) { totalCount } }",
         {"p": 1.5}, 400, ["BAD_USER_INPUT"]),
        ("query($p: Points!) { viewer { scopes } benefits(filter: {pointsPriceMax: $p}) { totalCount } }",
         {}, 400, ["BAD_USER_INPUT"]),
        ("query($by: BenefitBy!) { benefit(by: $by) { id } }", {"by": {"id": "x", "key": None}}, 400,
         ["BAD_USER_INPUT"]),
        ("query($by: BenefitBy!) { benefit(by: $by) { id } }", {"by": {}}, 400, ["BAD_USER_INPUT"]),
        ("{ benefit(by: {}) { id } }", {}, 400, ["GRAPHQL_VALIDATION_FAILED"]),
        ('{ benefit(by: {id: "x", key: {partner: "p", sku: "s"}}) { id } }', {}, 400,
         ["GRAPHQL_VALIDATION_FAILED"]),
        ('{ benefits(first: "many") { totalCount } }', {}, 400, ["GRAPHQL_VALIDATION_FAILED"]),
    ],
)  # fmt: skip
async def test_every_error_has_its_code_and_its_status(
    world: World, query: str, variables: dict[str, Any], status: int, codes: list[str]
) -> None:
    """What could not begin is 400, without data; what began is 200. As application/json both are 200."""
    for media, expected in ((GRAPHQL, status), (JSON, 200)):
        answer = await send(world, asked(query, variables=variables), Accept=media)
        assert answer.status_code == expected
        body = answer.json()
        assert [error["extensions"]["code"] for error in body.get("errors", ())] == codes
        assert ("data" in body) == (status == 200)


async def test_one_error_in_a_list_of_fields_leaves_the_others(world: World) -> None:
    """An error below a nullable field makes that field null, with the path, and nothing else."""
    wrong = 'bad: partner(handle: "rides") { benefits(last: -1) { totalCount } }'
    answer = await send(world, asked(f'{{ good: partner(handle: "rides") {{ name }} {wrong} }}'))
    assert answer.json()["data"] == {"good": {"name": "Rides"}, "bad": None}
    (error,) = answer.json()["errors"]
    assert error["path"] == ["bad", "benefits"]


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"", b"5", b"null", b"[]", b"true", b'"{ viewer { scopes } }"', b"{", b"{}", b"nonsense", b'{"query": 5}',
        b'{"query": null}', b'{"query": ["{ viewer { scopes } }"]}', b"[" * 100_000, b'{"a":' * 100_000,
        b'{"query": "\xff\xfe"}', '{"query": "{ viewer { scopes } }"}'.encode("utf-16"),
        b'{"query": "\\ud800"}', b'{"query": "{viewer{scopes}}", "variables": []}',
        b'{"query": "{viewer{scopes}}", "variables": "{}"}', b'{"query": "{viewer{scopes}}", "operationName": 1}',
        b'{"query": "{viewer{scopes}}", "extensions": 1}', b'[{"query": "{viewer{scopes}}"}]', b'{"query": NaN}',
        b'{"variables": {}, "id": "x"}',
    ],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
async def test_a_body_that_is_no_request_is_the_clients_error(world: World, body: bytes) -> None:
    """Whatever the bytes are, the answer is 400 with an error in GraphQL's form."""
    answer = await send(world, body)
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")
    assert "data" not in answer.json()


async def test_null_is_as_good_as_absent(world: World) -> None:
    """`variables`, `operationName` and `extensions` may be null, and what is unknown is ignored."""
    answer = await send(world, asked(variables=None, operationName=None, extensions=None, other=1))
    assert answer.json() == SEEN


async def test_deep_variables_are_the_clients_error(world: World) -> None:
    """A variable nested as deep as JSON may be is refused, not our fault."""
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    query = "query($p: Points) { benefits(filter: {pointsPriceMax: $p}) { totalCount } }"
    answer = await send(world, asked(query, variables={"p": deep}))
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")
    assert len(answer.content) < 2_000


async def test_a_body_has_four_mebibytes_at_most(world: World) -> None:
    """A longer body is 413, one just as long is read."""
    padding = BODY_BYTES_MAX - len(asked(extensions={"x": ""}))
    answer = await send(world, asked(extensions={"x": "." * (padding + 1)}))
    assert (answer.status_code, code(answer)) == (413, "BAD_USER_INPUT")
    assert (await send(world, asked(extensions={"x": "." * padding}))).json() == SEEN


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/graphql", "application/x-www-form-urlencoded",
             "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/json; charset=latin1"],
)  # fmt: skip
async def test_a_request_is_json_in_utf_8(world: World, kind: str) -> None:
    """Another content type is 415."""
    answer = await send(world, asked(), Content_Type=kind)
    assert (answer.status_code, code(answer)) == (415, "BAD_USER_INPUT")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
async def test_a_request_may_say_that_it_is_utf_8(world: World, kind: str) -> None:
    """The charset parameter, in any case and with quotes, is understood."""
    assert (await send(world, asked(), Content_Type=kind)).json() == SEEN


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_operations_are_posted(world: World, method: str) -> None:
    """Other methods are 405 and say what is allowed; a query in the URL is not looked at."""
    headers = {"Authorization": f"Bearer {await world.token('video')}"}
    answer = await world.http.request(method, "/graphql", params={"query": VIEWER}, headers=headers)
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert "video" not in answer.text


async def test_there_is_no_graphiql_unless_it_is_wished(world: World) -> None:
    """A browser that asks for HTML gets none."""
    answer = await world.http.get("/graphql", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.status_code == 405
    assert "<html" not in answer.text


# ---------------------------------------------------------------- operations

BOTH = "query a { viewer { partner { handle } } } query b { viewer { scopes } }"


@pytest.mark.parametrize(
    ("query", "name", "status"),
    [
        (BOTH, "a", 200),
        (BOTH, None, 400),
        (BOTH, "c", 400),
        (VIEWER, None, 200),
        (VIEWER, "a", 400),
        ("query a { viewer { partner { handle } } }", "a", 200),
        ("fragment f on Query { viewer { scopes } }", None, 400),
        ('subscription { redemptionUpdated(redemption: "x") { id } }', None, 400),
        ("subscription s { walletUpdated { balance } } query a { viewer { partner { handle } } }", "s", 400),
        ("type A { a: Int }", None, 400),
    ],
)
async def test_one_operation_is_named(world: World, query: str, name: str | None, status: int) -> None:
    """A document of several operations needs `operationName`, and one of that name; a subscription is none here."""
    answer = await send(world, asked(query, operationName=name))
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == SEEN
    else:
        assert "data" not in answer.json()
        assert {error["extensions"]["code"] for error in answer.json()["errors"]} <= {
            "BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED",
        }  # fmt: skip


# ---------------------------------------------------------------- size


BOMB_SECONDS_MAX = 2
"""What grows exponentially takes hours of the processor, what is refused some hundredths of a second."""


async def refused_as_too_large(world: World, query: str) -> httpx.Response:
    # Of this process, which the server is a part of: what else the machine does is not in it.
    began = time.process_time()
    answer = await send(world, asked(query))
    assert time.process_time() - began < BOMB_SECONDS_MAX
    assert answer.status_code == 400
    assert "data" not in answer.json()
    assert len(answer.content) < 20_000
    return answer


async def test_a_bomb_of_fragments_is_refused_at_once(world: World) -> None:
    """Six hundred bytes of fragments that double and double are COST_EXCEEDED, in no time."""
    fragments = "".join(f"fragment f{n} on Viewer{{...f{n - 1} ...f{n - 1}}}" for n in range(1, 15))
    query = f"{{viewer{{...f14}}}}{fragments}fragment f0 on Viewer{{scopes}}"
    assert len(query) < 600
    assert code(await refused_as_too_large(world, query)) == "COST_EXCEEDED"


async def test_a_bomb_of_aliased_fields_is_refused_at_once(world: World) -> None:
    """Fragments that double under two names each stand for what they would become."""
    twice = "a:benefits{nodes{partner{...%}}}b:benefits{nodes{partner{...%}}}"
    fragments = "".join(f"fragment f{n} on Partner{{{twice.replace('%', f'f{n - 1}')}}}" for n in range(1, 12))
    query = f'{{partner(handle:"video"){{...f11}}}}{fragments}fragment f0 on Partner{{name}}'
    assert code(await refused_as_too_large(world, query)) == "COST_EXCEEDED"


async def test_many_fragments_that_double_are_refused_at_once(world: World) -> None:
    """So are as many of them as the tokens allow."""
    fragments = "".join(f"fragment f{n} on Viewer{{...f{n - 1} ...f{n - 1}}}" for n in range(1, 400))
    query = f"{{viewer{{...f399}}}}{fragments}fragment f0 on Viewer{{scopes}}"
    assert code(await refused_as_too_large(world, query)) in ("COST_EXCEEDED", "GRAPHQL_VALIDATION_FAILED")


async def test_fragments_that_spread_themselves_end(world: World) -> None:
    """A cycle of fragments is a validation error."""
    query = "{ viewer { ...a } } fragment a on Viewer { ...b } fragment b on Viewer { ...a scopes }"
    assert code(await refused_as_too_large(world, query)) == "GRAPHQL_VALIDATION_FAILED"


async def test_a_flood_of_aliases_is_refused(world: World) -> None:
    """As many fields as there may be are answered, one more is COST_EXCEEDED, whatever they are called."""
    fits = f"{{ {' '.join(f'a{n}: __typename' for n in range(FIELDS_MAX))} }}"
    assert (await send(world, asked(fits))).status_code == 200
    flood = f"{{ {' '.join(f'a{n}: __typename' for n in range(FIELDS_MAX + 1))} }}"
    assert code(await refused_as_too_large(world, flood)) == "COST_EXCEEDED"


async def test_a_deep_operation_is_refused(world: World) -> None:
    """As deep as it may be is answered, one deeper is COST_EXCEEDED."""

    def query(levels: int) -> str:
        inner = "__typename"
        for _ in range((levels - 2) // 3):
            inner = f"benefits(first: 1) {{ nodes {{ partner {{ {inner} }} }} }}"
        inner += " benefits { __typename }" * ((levels - 2) % 3 > 0)
        return f'{{ partner(handle: "nobody") {{ {inner} }} }}'

    assert (await send(world, asked(query(DEPTH_MAX - 1)))).json() == {"data": {"partner": None}}
    assert code(await refused_as_too_large(world, query(DEPTH_MAX + 2))) == "COST_EXCEEDED"


@pytest.mark.parametrize(
    "query",
    [
        "{" + " a" * 6_000 + "}",
        "{ viewer { scopes } }" + " " * 100_001,
        "{ viewer { scopes } }" + "#\n" * 6_000,
        "{" * 2_400,
        "{a" * 1_200 + "}" * 1_200,
        "{ benefits(filter: " + "[" * 2_000 + "]" * 2_000 + ") { totalCount } }",
        "{ benefits(filter: " + "{a:" * 1_000 + "1" + "}" * 1_000 + ") { totalCount } }",
        "query($a: " + "[" * 2_000 + "Int" + "]" * 2_000 + ") { viewer { scopes } }",
        "{ viewer" + " { ... on Viewer" * 1_000 + " { scopes }" + " }" * 1_000 + " }",
    ],
    ids=["tokens", "length", "comments", "open braces", "selections", "lists", "objects", "types", "inline fragments"],
)
async def test_a_document_that_would_hurt_the_parser_is_refused(world: World, query: str) -> None:
    """Too many tokens, too long, too deep: the client's error, quickly, and never ours."""
    answer = await refused_as_too_large(world, query)
    codes = {error["extensions"]["code"] for error in answer.json()["errors"]}
    assert codes <= {"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "COST_EXCEEDED"}


# ---------------------------------------------------------------- introspection

TYPES = "fragment f on __Type { name fields { name args { name } type { name } } }"


async def test_introspection_works(world: World) -> None:
    """The usual introspection query, with all that the tools may ask besides, tells the whole schema."""
    everything = get_introspection_query(
        specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True,
    )  # fmt: skip
    answer = await send(world, asked(everything))
    assert answer.status_code == 200, answer.text
    names = {kind["name"] for kind in answer.json()["data"]["__schema"]["types"]}
    assert {"Query", "Mutation", "RedeemBenefitPayload", "Points"} <= names


async def test_a_flood_of_introspection_is_refused(world: World) -> None:
    """Introspection counts: the whole schema two hundred times over is COST_EXCEEDED."""
    flood = "".join(f"a{n}: __schema {{ types {{ ...f }} }} " for n in range(200))
    assert code(await refused_as_too_large(world, f"{{ {flood} }} {TYPES}")) == "COST_EXCEEDED"
    inner = "".join(f"a{n}: types {{ ...f }} " for n in range(200))
    assert code(await refused_as_too_large(world, f"{{ __schema {{ {inner} }} }} {TYPES}")) == "COST_EXCEEDED"


# ---------------------------------------------------------------- authentication


async def test_without_a_token_nothing_is_told(world: World) -> None:
    """No token is 401 with a challenge and UNAUTHENTICATED, before the body is looked at."""
    for body in (asked(), b"nonsense", asked("{ nonsense }")):
        answer = await send(world, body, token=None)
        assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == 'Bearer realm="exchange"'
        assert "data" not in answer.json()


async def test_a_bad_token_is_as_good_as_none(world: World) -> None:
    """A token that is forged, of another scheme, expired or for something else is 401, and all look the same."""
    good = await world.token("video")
    head, payload, signature = good.split(".")
    client = await world.services.registry.client(world.partners["video"].client_id)
    assert client is not None
    expired = world.services.tokens.for_partner(client, lifetime_seconds=-1)
    assertion = world.assertion("video", "anna")
    bad = [
        "x",
        "a.b.c",
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[::-1]}",
        expired,
        assertion,
        "é",
        good * 20,
    ]
    answers = [
        await world.http.post("/graphql", content=asked(), headers={b"Authorization": f"Bearer {token}".encode()})
        for token in bad
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.text for answer in answers} == {answers[0].text}
    assert code(answers[0]) == "UNAUTHENTICATED"
    assert {answer.headers["www-authenticate"] for answer in answers} == {
        'Bearer realm="exchange", error="invalid_token"'
    }


@pytest.mark.parametrize("header", ["Basic dmlkZW86eA==", "Bearer", "Bearer ", "", "bearer"])
async def test_only_a_bearer_token_counts(world: World, header: str) -> None:
    """Another scheme, or none, is no token."""
    answer = await send(world, asked(), token=None, Authorization=header)
    assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")


async def test_the_scheme_is_written_in_any_case(world: World) -> None:
    """RFC 9110: the scheme's name is case-insensitive."""
    answer = await send(world, asked(), token=None, Authorization=f"bEARER {await world.token('video')}")
    assert answer.json() == SEEN


async def test_a_token_of_another_exchange_is_none(world: World) -> None:
    """A client secret or an assertion key is no access token either."""
    for secret in (world.partners["video"].client_secret, world.partners["video"].client_id):
        answer = await send(world, asked(), token=Token(secret))
        assert answer.status_code == 401


# ---------------------------------------------------------------- what went wrong inside


async def test_what_goes_wrong_inside_is_logged_and_not_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A document in the database that cannot be read is an internal error, and says nothing else."""
    benefit = await world.publish("rides")
    await world.services.db["benefits"].update_one({"sku": benefit["sku"]}, {"$set": {"category": "SECRET-7"}})
    with caplog.at_level(logging.ERROR):
        answer = await world.ask("rides", "query($id: ID!) { benefit(by: {id: $id}) { sku } }", id=benefit["id"])
    await world.services.db["benefits"].delete_one({"sku": benefit["sku"]})
    assert answer.body["data"] == {"benefit": None}
    assert answer.codes == ["INTERNAL_SERVER_ERROR"]
    assert answer.body["errors"][0]["message"] == "internal error"
    assert "SECRET-7" not in json.dumps(answer.body)
    assert "SECRET-7" in caplog.text


async def test_a_database_that_does_not_answer_is_our_fault_and_its_words_are_not_told(world: World) -> None:
    """What the database says of its trouble stays inside; the client is told to try again, and then it works."""
    benefit = await world.publish("rides")
    db = world.services.db
    failing = {"failCommands": ["find"], "namespace": f"{db.name}.benefits", "errorCode": 8_000}
    try:
        await db.client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": failing})
    except OperationFailure:
        pytest.skip("this server was not started with test commands")
    query = "query($id: ID!) { benefit(by: {id: $id}) { sku } }"
    answer = await world.ask("rides", query, id=benefit["id"])
    assert (answer.status, answer.codes) == (200, ["INTERNAL_SERVER_ERROR"])
    (error,) = answer.body["errors"]
    assert "try again" in error["message"]
    for inside in ("8000", "failCommand", db.name, "mongodb://", "127.0.0.1"):
        assert inside not in json.dumps(answer.body)
    assert await world.read("rides", query, id=benefit["id"]) == {"sku": benefit["sku"]}


async def test_other_paths_are_not_there(world: World) -> None:
    """An unknown path is 404; the process says that it is alive and ready."""
    assert (await world.http.get("/nonsense")).status_code == 404
    assert (await world.http.get("/healthz")).json() == {"alive": True}
    assert (await world.http.get("/readyz")).json() == {"ready": True}
    assert ISSUER in (await world.http.get("/.well-known/oauth-authorization-server")).text


def nested(page: str, levels: int = 3) -> str:
    """Return benefits of partners of benefits, each list with this page."""
    inner = "id"
    for _ in range(levels):
        inner = f"partner {{ benefits({page}) {{ nodes {{ {inner} }} }} }}"
    return f'{{ benefit(by: {{id: "x"}}) {{ {inner} }} }}'


@pytest.mark.parametrize("page", ["first: 65", "last: 65", "first: $n"])
async def test_nested_lists_count_as_often_as_their_pages_are_long(world: World, page: str) -> None:
    """Three levels of sixty-five are a quarter of a million objects in ten fields: refused before anything is read."""
    query = f"query ($n: Int) {nested(page)}" if "$" in page else nested(page)
    assert code(await send(world, asked(query, variables={"n": 65}))) == "COST_EXCEEDED"
    assert (await send(world, asked(nested("first: 2")))).status_code == 200


async def test_many_nodes_many_times_are_too_many(world: World) -> None:
    """Aliases over one list of ids multiply as well."""
    aliases = " ".join(f"a{n}: nodes(ids: $ids) {{ id __typename }}" for n in range(130))
    answer = await send(world, asked(f"query ($ids: [ID!]!) {{ {aliases} }}", variables={"ids": ["x"] * 200}))
    assert code(answer) == "COST_EXCEEDED"
