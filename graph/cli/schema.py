"""`exchange schema`: what can be asked of the exchange."""

from __future__ import annotations

import json

import click
from graphql import build_schema, introspection_from_schema

from graph.schema import sdl


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the introspection result instead, as JSON.")
def schema(*, as_json: bool) -> None:
    """Print the GraphQL schema (SDL). It needs no exchange.

    \b
    exchange schema > schema.graphql
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if as_json:
        click.echo(json.dumps(introspection_from_schema(build_schema(sdl())), indent=2))
    else:
        click.echo(sdl(), nl=False)
