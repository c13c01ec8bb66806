"""How the site reads our source: doctests, "name: meaning" lines and trailing comments.

Read by mkdocstrings, never imported by the package; needs only what the ``docs`` extra brings.
"""

import re
import textwrap
from typing import Any

from griffe import Attribute, Docstring, Extension, Object

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*(?:\n\n>>> .*(?:\n.+)*)*", re.MULTILINE)
FIELD = re.compile(r"^((?!https?:)[a-z_]\w*(?:, [a-z_]\w*)*): (?=\S)", re.MULTILINE)
COMMENT = re.compile(r"\s#\s+(?!noqa|type:)(.+)$")


def with_examples(text: str) -> str:
    """Unindented doctests become the "Examples" section that Google style wants."""
    return DOCTEST.sub(lambda m: "\nExamples:\n" + textwrap.indent(m[0], "    "), text)


def with_fields(text: str) -> str:
    """A paragraph of "name: meaning" lines becomes a list, which Google style would box in."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(FIELD.sub(r"- `\1`: ", p) if FIELD.match(p) else p for p in paragraphs)


class Docstrings(Extension):
    """Adjusts every object once its whole package is loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = with_fields(with_examples(obj.docstring.value))
        elif isinstance(obj, Attribute) and obj.parent is not None and obj.parent.is_class:
            if "instance-attribute" in obj.labels and "dataclass" not in obj.parent.labels:
                return  # assigned in __init__; its documentation is the class's "Args"
            if obj.lines and (found := COMMENT.search(obj.lines[-1])):
                obj.docstring = Docstring(found[1], parent=obj)
