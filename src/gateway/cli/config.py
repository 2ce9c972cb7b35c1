"""`gateway config`: the strict check, and what is in effect with secrets masked."""

import io
import json
import re
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from gateway.cli.output import ConfigOption, JsonOption, print_json
from gateway.observability.redaction import MASK, Redactor, secrets_of

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Check the configuration, or show it."
)
LONG_SECRET = 12
"""A shorter one may be an ordinary word elsewhere: some servers take any word for a key."""
_FLAG = re.compile(r"--?[\w-]*(key|token|secret|password|credential|authorization)", re.IGNORECASE)
"""An argument of a program that says that the next one is a secret."""
_GIVEN = re.compile(_FLAG.pattern + "=(?=.)", re.IGNORECASE)
FileArgument = Annotated[str | None, typer.Argument(metavar="[FILE]", help="Instead of the one that is found.")]


@app.command()
def check(file: FileArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Read the configuration strictly. Each mistake is one line, and the exit code 2."""
    from gateway.settings import load_settings

    loaded = load_settings(file or config)
    source = str(loaded.source) if loaded.source else None
    if as_json:
        print_json({"ok": True, "source": source, "warnings": list(loaded.warnings)})
        return
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    print(f"{source}: ok" if source else "no configuration file: the defaults are in effect")


@app.command()
def show(file: FileArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Everything that is in effect; secrets are masked."""
    from gateway.settings import load_settings

    loaded = load_settings(file or config)
    data = masked(loaded.settings)
    if as_json:
        print_json(data)
        return
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # its stub says None
    out = io.StringIO()
    yaml.dump(data, out)
    print(f"# from {loaded.source or 'the defaults and the environment'}; state in {loaded.home}")
    print(out.getvalue(), end="")


def masked(settings: BaseModel) -> Any:
    """The settings as JSON values; secrets are `***`, in texts that carry one (an address, an argument) too."""
    long = [secret for secret in secrets_of(settings) if len(secret) >= LONG_SECRET]
    return _masked(json.loads(settings.model_dump_json()), Redactor(long))


def _masked(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, dict):
        return {name: _masked(inner, redactor) for name, inner in value.items()}
    if isinstance(value, list):
        named = [False, *(isinstance(item, str) and _FLAG.fullmatch(item) is not None for item in value)]
        return [MASK if flag else _masked(item, redactor) for flag, item in zip(named, value, strict=False)]
    if isinstance(value, str):
        given = _GIVEN.match(value)
        if given is not None:
            return given[0] + MASK
        return MASK if value and not value.strip("*") else redactor.text(value)
    return value
