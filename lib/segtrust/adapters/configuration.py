"""Configurations of MONAI (JSON or YAML), looked up without running what is in them.

A value may be plain, a reference (``@key#inner``), or one of a few expressions that are computed here by a
reader of their own: lengths, sums and choices of plain values. Everything else that begins with ``$`` is code
and stays what it is, for the caller to refuse by name.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from segtrust.errors import ModelError, install_line

__all__ = ["Code", "Configuration", "read_document"]

_LARGEST = 1 << 22  # bytes; the largest of the model zoo has 17 thousand
_MOST = 20_000  # values looked up for one part: references that name each other twice would grow for ever
_DEEPEST = 40
_LONGEST = 300  # characters of an expression, or of what it makes
_ENDINGS = (".json", ".yaml", ".yml")
_REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
_PLACE = "reference_"


class Code(str):
    """What a configuration would have to run; never run here."""

    __slots__ = ()


_NOTHING = Code()


class Configuration:
    """The content of one configuration.

    Args:
        root: the parsed file.
        path: of it, for messages.
    """

    def __init__(self, root: Mapping[str, Any], path: Path) -> None:
        self.root, self.path = root, path

    def look_up(self, *keys: str) -> Any:  # noqa: ANN401  # whatever a file can hold
        """The value of the first key that is there, references followed.

        Args:
            keys: of the top level.

        Returns:
            Plain values, and :class:`Code` where something would have to be run; ``None`` without the keys.

        Raises:
            ModelError: if references lead round in a circle of growing size, or are nested too deep.
        """
        key = next((one for one in keys if self.root.get(one) is not None), None)
        return None if key is None else _Lookup(self).value(self.root[key], ())

    def at(self, reference: str) -> Any:  # noqa: ANN401
        """What a reference names, as the file has it; :class:`Code` if it leads nowhere."""
        target: Any = self.root
        for key in re.split("#|::", reference):
            if isinstance(target, list) and key.isdigit() and int(key) < len(target):
                target = target[int(key)]
            elif isinstance(target, Mapping) and key in target:
                target = target[key]
            else:
                return Code(f"@{reference}")
        return target


class _Lookup:
    """One walk through a configuration, which counts what it has seen."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration, self._count = configuration, 0

    def value(self, value: Any, on_the_way: tuple[str, ...]) -> Any:  # noqa: ANN401
        self._count += 1
        if self._count > _MOST or len(on_the_way) > _DEEPEST:
            raise ModelError(
                f"{self._configuration.path} must be a configuration of plain values, got references that "
                f"grow beyond {_MOST} values or {_DEEPEST} levels."
            )
        if isinstance(value, Mapping):
            return {str(key): self.value(inner, (*on_the_way, "")) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, (*on_the_way, "")) for inner in value]
        if not isinstance(value, str) or not value.startswith(("@", "$", "%")):
            return value
        if value.startswith("%") or value in on_the_way:  # another file; a circle
            return Code(value)
        if match := _REFERENCE.fullmatch(value.removeprefix("$").strip()):
            target = self._configuration.at(match[1])
            return target if isinstance(target, Code) else self.value(target, (*on_the_way, value))
        return self._computed(value, on_the_way) if value.startswith("$") else Code(value)

    def _computed(self, value: str, on_the_way: tuple[str, ...]) -> Any:  # noqa: ANN401
        if len(value) > _LONGEST:
            return Code(value)
        references = _REFERENCE.findall(value)
        named = re.sub(_REFERENCE, lambda match: f"{_PLACE}{references.index(match[1])}_", value[1:])
        try:
            tree = ast.parse(named.strip(), mode="eval").body
            parts = {
                f"{_PLACE}{number}_": self.value(f"@{reference}", (*on_the_way, value))
                for number, reference in enumerate(references)
            }
            return _plain(tree, parts)
        except ModelError:
            raise  # too many values
        except (_NotPlainError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            return Code(value)


class _NotPlainError(Exception):
    """An expression that is code."""


def _plain(node: ast.expr, parts: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Value of a constant, a list, a reference, a length, a sum or a choice; of nothing else."""
    value: Any = _NOTHING
    match node:
        case ast.Constant(value=str() | int() | float() | None as constant):
            value = constant
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            value = [_plain(element, parts) for element in elements]
        case ast.Name(id=name) if name in parts:
            value = parts[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = -_plain(operand, parts)
        case ast.IfExp(test=test, body=body, orelse=other):
            value = _plain(body if _plain(test, parts) else other, parts)
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]):
            value = len(_plain(argument, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            value = _plain(left, parts) + _plain(right, parts)
    if isinstance(value, Code) or (isinstance(value, str | list) and len(value) > _LONGEST):
        raise _NotPlainError
    return value


def read_document(folder: Path, name: str) -> tuple[dict[str, Any], Path]:
    """Read a JSON or YAML file that holds one object.

    Args:
        folder: where it lies.
        name: without ending.

    Returns:
        Its content, and its path.

    Raises:
        ModelError: if there is none or more than one, it is too large, or it is no plain JSON or YAML: tags
            of YAML would make objects, and aliases let a small file stand for a huge one.
    """
    files = [path for ending in _ENDINGS if (path := folder / f"{name}{ending}").is_file()]
    if len(files) != 1:
        raise ModelError(
            f"there must be one file {folder / name} ({', '.join(_ENDINGS)}), got "
            f"{', '.join(path.name for path in files) or 'none'}."
        )
    path = files[0]
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path} must be a configuration below {_LARGEST >> 20} MB, got a larger file.")
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else _yaml(text, path)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} must be plain {path.suffix[1:].upper()}, but {_short(error)}.") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path} must hold an object of keys and values, got {type(document).__name__}.")
    return document, path


def _yaml(text: str, path: Path) -> Any:  # noqa: ANN401
    try:
        yaml: Any = import_module("yaml")  # an extra
    except ModuleNotFoundError as error:
        raise ModelError(f"{path} needs PyYAML: {install_line('nets')}") from error
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ModelError(f"{path} must be plain YAML, got aliases (`*name`). Write the values out.")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ModelError(f"{path} must be plain YAML, but {_short(error)}.") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def described(value: Any) -> str:  # noqa: ANN401
    """A value for a message, at most 80 characters."""
    return repr(str(value) if isinstance(value, Code) else value)[:80]


def listed(value: Any) -> Sequence[Any]:  # noqa: ANN401
    """A value that may be one or a list of them, as a list."""
    return value if isinstance(value, list) else [value]
