"""What `exchange up` tells its user to try next. Whatever stands here works when pasted, and a test pastes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

_DEMO: Final = Template("""
The demo's partners, members and staff, with their credentials, are in
  $file

A partner's token, and a query with it, as curl:

TOKEN=$$(curl -s -u $credentials -d grant_type=client_credentials $url/oauth/token | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
curl -s $url/graphql -H "Authorization: Bearer $$TOKEN" -H 'Content-Type: application/json' -d '$body'

What a member has and can have, as Python:

import json, urllib.request
demo = json.load(open($python_file))
query = "{ viewer { member { reference wallet { available } } } benefits(first: 3) { nodes { title pointsPrice partner { name } availability { redeemable reasons } } } }"
request = urllib.request.Request(demo["graphql"], json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
request.add_header("Authorization", "Bearer " + demo["members"][0]["access_token"])
print(json.dumps(json.load(urllib.request.urlopen(request)), indent=2, ensure_ascii=False))

Or look around with GraphiQL: open $url/graphql in a browser, with a token of that file in the header
{"Authorization": "Bearer ..."}.
""")  # noqa: E501 - lines as they are pasted

_PLAIN: Final = Template("""
A first partner, a price for its points, and a token of your own:

exchange partner create --data $data --handle rides --name "Komet Rides"
exchange agreement set --data $data --price 8.00 --currency EUR --fee-bps 150
exchange staff create --data $data --email you@example.org --role admin --token
""")

_QUERY: Final = "{ viewer { partner { name roles } scopes } benefits(first: 3) { nodes { title pointsPrice } } }"


def greeting(url: str, data: Path, demo: Mapping[str, Any] | None) -> str:
    """Return what to try on the exchange at `url`; `demo`: what demo.json holds."""
    if demo is None:
        return _PLAIN.substitute(data=shlex.quote(str(data)))
    partner = next(iter(demo["partners"].values()))
    file = str((data / "demo.json").resolve())
    return _DEMO.substitute(
        file=file, python_file=json.dumps(file), url=url, body=json.dumps({"query": _QUERY}),
        credentials=shlex.quote(f"{partner['client_id']}:{partner['client_secret']}"),
    )  # fmt: skip
