"""`gateway config`: the strict check, and what is in effect with secrets masked."""

import io
import json
from typing import Annotated, Any

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json
from gateway.observability.redaction import MASK, Redactor

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Check the configuration, or show it."
)
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
    data = masked(json.loads(loaded.settings.model_dump_json()))
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


def masked(value: Any) -> Any:
    """Secrets as `***`, in texts that carry one (a URL with a password, an argument) too."""
    if isinstance(value, dict):
        return {name: masked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    if isinstance(value, str):
        return MASK if value and not value.strip("*") else Redactor().text(value)
    return value
