"""How large a request may be: refused before anything is read, in time linear in its size.

Three traps are avoided. A document of a few hundred bytes can spread fragments in fragments so that it stands for
millions of fields: so what a fragment adds up to is worked out once per fragment and remembered, never expanded. A few
nested lists of a hundred ask for a million objects: so a list counts as many times as its page is long. And a parser
must not be fed without bound: so tokens, comments and length are capped while parsing.

All of it is measured as soon as the document is parsed, before the validation rules, some of which take time in the
square of the fields they compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from strawberry.extensions import SchemaExtension

from graph.paging import SIZE_DEFAULT, SIZE_MAX
from graph.refusals import Code, fault

BODY_BYTES_MAX = 4 * 1024 * 1024
BODY_SECONDS_MAX = 30
DOCUMENT_LENGTH_MAX = 100_000
TOKENS_MAX = 5_000
DEPTH_MAX = 15
FIELDS_MAX = 400
ANSWERS_MAX = 50_000
"""Most fields of the answer, every row of every page counted as full."""

_LIST_GUESS = 10
"""Rows of a list that has no page size: positions, links, debits."""

_INTROSPECTION = 150
"""Times that what stands in `__schema` is answered: about the types and fields of the schema."""


class Size(NamedTuple):
    """What a selection stands for with all fragments expanded: fields, depth, and fields of the answer."""

    fields: int
    depth: int
    answers: int


NOTHING = Size(0, 0, 0)


class Measure:
    """Measures the operations of one document, with the variables it came with."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._variables = variables
        self._sizes: dict[str, Size] = {}
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }

    def operation(self, node: OperationDefinitionNode) -> Size:
        """Return the size of an operation."""
        return self._selection(node.selection_set, self._schema.get_root_type(node.operation))

    def _selection(self, selection: SelectionSetNode | None, parent: Any) -> Size:
        fields = depth = answers = 0
        for node in selection.selections if selection else ():
            if isinstance(node, FieldNode):
                inner = self._field(node, parent)
            elif isinstance(node, FragmentSpreadNode):
                inner = self._fragment(node.name.value)
            else:
                narrowed = getattr(node, "type_condition", None)
                inner = self._selection(
                    node.selection_set,  # type: ignore[attr-defined]  # the only other selection is an inline fragment
                    self._schema.get_type(narrowed.name.value) if narrowed else parent,
                )
            fields, depth, answers = fields + inner.fields, max(depth, inner.depth), answers + inner.answers
        return Size(fields, depth, answers)

    def _field(self, node: FieldNode, parent: Any) -> Size:
        known = (
            parent.fields.get(node.name.value) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None
        )
        inner = self._selection(node.selection_set, None if known is None else get_named_type(known.type))
        if node.name.value in ("__schema", "__type"):
            # Introspection asks deeper than anybody else, and only its depth is let through.
            return Size(inner.fields + 1, 1, 1 + _INTROSPECTION * inner.answers)
        return Size(inner.fields + 1, inner.depth + 1, 1 + self._rows(node, known, parent) * inner.answers)

    def _rows(self, node: FieldNode, known: GraphQLField | None, parent: Any) -> int:
        if known is None or parent.name.startswith("__"):
            return 1
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        if "first" in known.args:
            asked = self._value(given.get("last")) or self._value(given.get("first"))
            return min(max(asked, 0), SIZE_MAX) if isinstance(asked, int) else SIZE_DEFAULT
        if "ids" in known.args:
            ids = self._value(given.get("ids"))
            return len(ids) if isinstance(ids, list | tuple) else 1
        if "pageInfo" in getattr(get_named_type(known.type), "fields", ()):
            # A page whose size stands in the mutation's input.
            return SIZE_MAX
        # The rows of a connection were counted with its page.
        return _LIST_GUESS if is_list_type(get_nullable_type(known.type)) and "pageInfo" not in parent.fields else 1

    def _value(self, node: ValueNode | None) -> Any:
        if isinstance(node, VariableNode):
            return self._variables.get(node.name.value)
        if isinstance(node, IntValueNode):
            return int(node.value[:10])
        return node.values if isinstance(node, ListValueNode) else None

    def _fragment(self, name: str) -> Size:
        known = self._sizes.get(name)
        if known is None:
            self._sizes[name] = NOTHING  # a cycle is a validation rule's to report; here it must only end
            fragment = self._fragments.get(name)
            if fragment is None:
                return NOTHING
            on = self._schema.get_type(fragment.type_condition.name.value)
            known = self._sizes[name] = self._selection(fragment.selection_set, on)
        return known


class Limits(SchemaExtension):
    """Caps the parser, refuses what is too large, and refuses to guess which operation is meant."""

    def on_operation(self) -> Iterator[None]:
        """Set the options before the document is parsed."""
        options: dict[str, Any] = self.execution_context.parse_options  # type: ignore[assignment]
        options.update(max_lexical_tokens=TOKENS_MAX, max_comments=TOKENS_MAX, max_source_length=DOCUMENT_LENGTH_MAX)
        yield

    def on_parse(self) -> Iterator[None]:
        """Refuse a document that is too large, or of several operations none of which is named (GraphQL §6.1).

        Strawberry would execute the first of several; what was sent it keeps to itself.
        """
        yield
        context = self.execution_context
        document = context.graphql_document
        if document is None:
            return
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if context._provided_operation_name is None and len(operations) > 1:  # noqa: SLF001
            raise fault(Code.BAD_USER_INPUT, "the document has several operations: name one in `operationName`")
        measure = Measure(context.schema._schema, document, context.variables or {})  # noqa: SLF001
        for operation in operations:
            _refuse_beyond_limits(measure.operation(operation))


def _refuse_beyond_limits(size: Size) -> None:
    for what, asked, most in (
        ("fields", size.fields, FIELDS_MAX),
        ("levels", size.depth, DEPTH_MAX),
        ("fields in its answer, with full pages,", size.answers, ANSWERS_MAX),
    ):
        if asked > most:
            raise fault(Code.COST_EXCEEDED, f"the operation has {asked} {what} and may have {most}")
