"""How large a request may be: refused before anything is read, in time linear in its size.

Two traps are avoided. A document of a few hundred bytes can spread fragments in fragments so that it stands for
millions of fields: so what a fragment adds up to is worked out once per fragment and remembered, never expanded. And a
parser must not be fed without bound: so tokens, comments and length are capped while parsing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from graphql import FieldNode, FragmentSpreadNode, OperationDefinitionNode, SelectionSetNode
from graphql.validation import ASTValidationRule, ValidationContext
from strawberry.extensions import SchemaExtension

from graph.refusals import Code, fault

BODY_BYTES_MAX = 4 * 1024 * 1024
DOCUMENT_LENGTH_MAX = 100_000
TOKENS_MAX = 5_000
DEPTH_MAX = 15
FIELDS_MAX = 1_000


class Size(NamedTuple):
    """What a selection stands for with all its fragments expanded."""

    fields: int
    depth: int


class DocumentSize(ASTValidationRule):
    """Refuses (COST_EXCEEDED) an operation of too many fields, aliases counted one by one, or too deep."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._fragments: dict[str, Size] = {}

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        """Measure the operation; introspection asks deeper than anybody else, and only its depth is let through."""
        size = self._measure(node.selection_set)
        if size.depth > DEPTH_MAX or size.fields > FIELDS_MAX:
            said = (
                f"the operation has {size.fields} fields, {size.depth} deep; allowed are {FIELDS_MAX} and {DEPTH_MAX}"
            )
            self.report_error(fault(Code.COST_EXCEEDED, said))

    def _measure(self, selection: SelectionSetNode | None) -> Size:
        fields = depth = 0
        for node in selection.selections if selection else ():
            if isinstance(node, FieldNode):
                inner = self._measure(node.selection_set)
                if node.name.value in ("__schema", "__type"):
                    inner = inner._replace(depth=0)
                fields, depth = fields + 1 + inner.fields, max(depth, 1 + inner.depth)
                continue
            if isinstance(node, FragmentSpreadNode):
                inner = self._fragment(node.name.value)
            else:
                inner = self._measure(node.selection_set)  # type: ignore[attr-defined]  # the only other selection
            fields, depth = fields + inner.fields, max(depth, inner.depth)
        return Size(fields, depth)

    def _fragment(self, name: str) -> Size:
        known = self._fragments.get(name)
        if known is None:
            self._fragments[name] = Size(0, 0)  # a cycle is another rule's to report; here it must only end
            fragment = self.context.get_fragment(name)
            known = self._fragments[name] = self._measure(None if fragment is None else fragment.selection_set)
        return known


class Limits(SchemaExtension):
    """Caps the parser, adds the size to what is validated, and refuses to guess which operation is meant."""

    def on_operation(self) -> Iterator[None]:
        """Set the options before the document is parsed."""
        options: dict[str, Any] = self.execution_context.parse_options  # type: ignore[assignment]
        options.update(max_lexical_tokens=TOKENS_MAX, max_comments=TOKENS_MAX, max_source_length=DOCUMENT_LENGTH_MAX)
        self.execution_context.validation_rules += (DocumentSize,)
        yield

    def on_parse(self) -> Iterator[None]:
        """Refuse a document of several operations none of which is named (GraphQL §6.1 GetOperation).

        Strawberry would execute the first of them; what was sent it keeps to itself.
        """
        yield
        document, named = self.execution_context.graphql_document, self.execution_context._provided_operation_name  # noqa: SLF001
        operations = (
            [node for node in document.definitions if isinstance(node, OperationDefinitionNode)] if document else []
        )
        if named is None and len(operations) > 1:
            raise fault(Code.BAD_USER_INPUT, "the document has several operations: name one in `operationName`")
