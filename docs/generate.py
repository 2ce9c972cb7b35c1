"""Writes the pages that follow from the code. `python docs/generate.py --check` only compares (a test does)."""

import ast
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "src"))

INTRODUCTION = """\
# Configuration

*Written by `docs/generate.py` from the models; `make docs` writes it anew.*

The gateway needs no configuration. Where there is one, it is YAML, found in this order: `--config FILE`,
`$GATEWAY_CONFIG`, `./config/gateway.yaml`, `~/.gateway/config.yaml` (`$GATEWAY_HOME` moves `~/.gateway`). A file that
says nothing, like the commented example [config/gateway.yaml](../config/gateway.yaml), is passed over.

- Any key can be set from the environment: `GATEWAY__SERVER__PORT=9000`; lists and mappings as JSON; items of a list by
  their number, `GATEWAY__MODELS__0__TIER=2`. A variable that names no key is a mistake.
- `OPENAI_API_KEY` (with `OPENAI_BASE_URL`, `OPENAI_MODEL`) makes a model where none is configured.
  `TELEGRAM_BOT_TOKEN`, `DISCORD_BOT_TOKEN`, `FEISHU_APP_ID` with `FEISHU_APP_SECRET` turn their channel on unless the
  file says `enabled: false`.
- References are looked up where their section is enabled: `${VAR}`, `${env:VAR}`, `${VAR:-default}`, `${file:PATH}`
  (beside the configuration), `${secret:NAME}` (from `secrets.yaml` beside it, else from
  `~/.ai-bridge/secrets.yaml`, mode 0600). `$${VAR}` stays `${VAR}`.
- Every mistake is one line with its place, `config.yaml:3:3 server.prot: unknown key (did you mean 'port'?)`, and the
  exit code 2. What would be unsafe is refused with exit code 3: another address than this machine's without TLS (or a
  proxy that ends it and is named in `trusted_proxies`), or a `secrets.yaml` that others can read. A secret that stands
  in the configuration itself is taken as it is; `gateway doctor` says where others can read it.
- Not in this version, and refused when asked for: JWT, mutual TLS, `bus.backend: nats`, `sessions.backend: redis`.

`gateway config check` reads strictly, `gateway config show` prints what is in effect with secrets masked.
"""
BRIDGE = """\

# The bridge

`~/.ai-bridge/config.yaml`, or `$AI_BRIDGE_CONFIG`; the example is [config/bridge.yaml](../config/bridge.yaml).
References work as above.
"""


def attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of `model` and its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        body = ast.parse(inspect.cleandoc("\n" + inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, following in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(following.value.value).split())
    return found


def type_name(annotation: Any) -> str:
    """What may stand there, for people."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(each) for each in arguments if each is not type(None)))
    if origin is typing.Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"mapping to {type_name(arguments[1])}"
    if annotation is SecretStr:
        return "text (secret)"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, "section" if is_model(annotation) else getattr(annotation, "__name__", "any"))


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if is_model(annotation):
        yield annotation
    for each in typing.get_args(annotation):
        yield from models_in(each)


def default_of(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "computed" if field.default_factory else "required"
    value = field.default
    if isinstance(value, BaseModel):
        return ""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list | frozenset) and not value:
        return "`[]`"
    return f"`{value}`"


def table(model: type[BaseModel], path: str, depth: int = 2) -> Iterator[str]:
    """The table of one section, then those of the sections in it."""
    if path:
        yield f"\n{'#' * min(depth, 4)} `{path}`\n"
        text = inspect.getdoc(model)
        if text:
            yield f"{' '.join(text.split())}\n"
    fields = dict(model.model_fields)
    docs = attribute_docs(model)
    rows = {name: field for name, field in fields.items() if not is_model(field.annotation)}
    if rows and path:
        yield "| key | what | default | |\n|---|---|---|---|"
        for name, field in rows.items():
            note = docs.get(name, "").replace("|", "\\|")
            yield f"| `{name}` | {type_name(field.annotation)} | {default_of(field)} | {note} |"
    for name, field in fields.items():
        below = f"{path}.{name}" if path else name
        if is_model(field.annotation):
            yield from table(field.annotation, below, depth + 1 if path else 2)
            continue
        inner = list(models_in(field.annotation))
        if inner:
            sign = "" if type(None) in typing.get_args(field.annotation) else "[]"
            yield from table(inner[0], below + sign, depth + 1 if path else 2)


def configuration() -> str:
    from bridge.settings import BridgeSettings
    from gateway.settings import GatewaySettings

    lines = [INTRODUCTION, *table(GatewaySettings, ""), BRIDGE, *table(BridgeSettings, "")]
    return "\n".join(lines).rstrip() + "\n"


PAGES = {"configuration.md": configuration, "protocol.md": pages.protocol, "attacks.md": pages.attacks}
UNCHECKED = {"attacks.md"}
"""Follows the tests, so it would be out of date with each new one."""


def main() -> int:
    """Write all pages, or with `--check` say which differ."""
    stale = []
    for name, make in PAGES.items():
        text, path = make(), DOCS / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif name in UNCHECKED:
            continue
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; do: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
