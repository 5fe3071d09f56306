"""Reading a definition's text: YAML 1.2 scalars or JSON, with the position of every value."""

import re
from typing import Any

import yaml

from schemas.errors import DefinitionError, ErrorCode, Position, Problem

_MAX_NESTING = 100


class Loader(yaml.SafeLoader):
    """YAML with the 1.2 core schema's scalars, so that `on`, `yes` and dates stay text."""


Loader.yaml_implicit_resolvers = {}
_SCALARS = (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
)
for _name, _pattern, _first in _SCALARS:
    Loader.add_implicit_resolver(_name, re.compile(_pattern), list(_first))


class Document:
    """Parsed data with the position of each value, found by its path (`steps[2].with.to`)."""

    def __init__(self, data: Any, positions: dict[str, Position]) -> None:
        """Hold `data` and the positions by path."""
        self.data = data
        self._positions = positions

    def position(self, path: str) -> Position | None:
        """Give the position of the value at `path`, or of its nearest parent."""
        while path and path not in self._positions:
            path = re.sub(r"(\.[^.\[\]]*|\[\d+\]|^[^.\[\]]+)$", "", path)
        return self._positions.get(path)


class _Builder:
    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.problems: list[Problem] = []
        self.loader = Loader("")

    def build(self, node: yaml.Node, path: str, depth: int) -> Any:
        position = Position(line=node.start_mark.line + 1, column=node.start_mark.column + 1)
        self.positions[path] = position
        if depth > _MAX_NESTING:
            self.refuse(path, position, f"nested deeper than {_MAX_NESTING} levels")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(item, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(node.value)
            ]
        return self.scalar(node, path, position)

    def mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            position = Position(line=mark.line + 1, column=mark.column + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(path, position, "a key must be a text")
                continue
            key = key_node.value
            here = f"{path}.{key}" if path else key
            if key in result:
                self.refuse(here, position, f"the key {key!r} stands twice")
            result[key] = self.build(value_node, here, depth + 1)
        return result

    def scalar(self, node: yaml.Node, path: str, position: Position) -> Any:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        text: str = node.value
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int" and len(text) <= 20:
            return int(text)
        if tag in ("int", "float"):
            return float(text)
        self.refuse(path, position, f"the tag {node.tag!r} is not supported")
        return None

    def refuse(self, path: str, position: Position, message: str) -> None:
        self.problems.append(Problem(path=path, position=position, message=message))


def parse_document(text: str) -> Document:
    """Parse YAML or JSON.

    Raises DefinitionError with the position for syntax errors, keys that stand twice, anchors
    and aliases (an alias bomb must not unfold) and tags.
    """
    if not text.strip():
        raise DefinitionError("the document is empty", problems=[Problem(message="empty document")])
    try:
        for token in yaml.scan(text, Loader=Loader):
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
                mark = token.start_mark
                raise _syntax("anchors, aliases and tags are not supported", mark)
        node = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        message = " ".join(part for part in (error.context, error.problem) if part)
        raise _syntax(message, error.problem_mark or error.context_mark) from error
    except yaml.reader.ReaderError as error:
        message = f"character {error.position} is not allowed: {error.reason}"
        raise DefinitionError(message, problems=[Problem(message=message)]) from error
    except RecursionError as error:
        message = f"nested deeper than {_MAX_NESTING} levels"
        raise DefinitionError(message, problems=[Problem(message=message)]) from error
    if node is None:
        raise DefinitionError("the document is empty", problems=[Problem(message="empty document")])
    builder = _Builder()
    data = builder.build(node, "", 0)
    if builder.problems:
        raise DefinitionError("the document cannot be read", problems=builder.problems)
    return Document(data, builder.positions)


def _syntax(message: str, mark: yaml.Mark | None) -> DefinitionError:
    position = Position(line=mark.line + 1, column=mark.column + 1) if mark else None
    problem = Problem(code=ErrorCode.DEFINITION_INVALID, position=position, message=message)
    return DefinitionError(f"the document cannot be read: {message}", problems=[problem])
