"""`gateway init`: from nothing to a configuration, by questions or, with `--yes`, from what is there.

Model endpoints and bot tokens are tested before they are written down. Nothing is ever
overwritten, and a secret is never an argument: with `--yes` they come from the environment.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption, JsonOption, print_json

if TYPE_CHECKING:
    from gateway.cli.written import Answers

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def init(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what the environment offers.")] = False,
    base_url: Annotated[str | None, typer.Option(help="The model endpoint, OpenAI-compatible.", metavar="URL")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name there.", metavar="NAME")] = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Try the endpoint and the tokens.")] = True,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write a first configuration for models and channels."""
    from bridge.configuration import ConfigurationError
    from gateway.cli.written import write
    from gateway.settings import gateway_home, load_settings

    target = Path(config).expanduser() if config else gateway_home(os.environ) / "config.yaml"
    if target.exists():
        raise Failure(f"{target} exists already and is not touched; see it by: gateway config show")
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise Failure(f"--base-url {base_url}: http://… or https://… is needed", exit_code=2)
    if yes:
        answers = _from_environment(os.environ, base_url, model, test=test)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        from channels.cli.words import language
        from gateway.cli.wizard import ask_everything

        found = ask_everything(base_url, model, test=test)
        if found is None:
            raise Failure("没有写入任何文件" if language() == "zh" else "nothing was written")
        answers = found
    else:
        raise Failure("no terminal to ask on: use --yes (keys come from the environment)", exit_code=2)
    try:
        files = write(target, answers)
    except FileExistsError as error:
        raise Failure(f"{error.filename} exists already and is not touched") from None
    except OSError as error:
        raise Failure(f"{target}: {error.strerror or error}") from None
    try:
        load_settings(target)
    except ConfigurationError as error:
        for file in files:  # or the next try would find them in its way
            file.unlink(missing_ok=True)
        raise Failure(*map(str, error.problems), "nothing was written", exit_code=error.exit_code) from None
    if as_json:
        print_json({"files": [str(file) for file in files], "model": answers.model or "demo",
                    "channels": list(answers.channels)})  # fmt: skip
        return
    for file in files:
        print(f"wrote {file}")
    started = "gateway run" + (f" --config {target}" if config else "")
    print(f"model: {answers.model or 'demo (built in)'}\nnext: {started}")


def _from_environment(environ: Mapping[str, str], base_url: str | None, model: str | None, *, test: bool) -> "Answers":
    """What `--yes` finds; a test that fails is a Failure, so that scripts notice."""
    from gateway.cli.providers import recognise
    from gateway.cli.written import SECRET_FIELDS, Answers

    answers = Answers()
    endpoint = recognise(environ, base_url, search=test)
    if endpoint is not None:
        offered = _offered(endpoint.base_url, endpoint.key) if test else []
        answers.base_url = endpoint.base_url
        answers.model = model or environ.get("OPENAI_MODEL") or endpoint.choose(offered)
        if not answers.model:
            raise Failure(f"{endpoint.base_url} offers no model; name one: --model NAME")
        if offered and model and model not in offered:
            raise Failure(f"{endpoint.base_url} does not offer {model}; it offers {', '.join(offered[:10])}")
        if endpoint.key:
            answers.has_key = True
            answers.secrets["MODEL_API_KEY"] = endpoint.key
    for channel, fields in SECRET_FIELDS.items():
        values = {key: environ.get(name, "") for key, name in fields.items()}
        if all(values.values()):
            if test:
                _test_channel(channel, values)
            answers.channels[channel] = {"dm_policy": "pairing", "allow_from": []}
            answers.secrets.update({fields[key]: value for key, value in values.items()})
    return answers


def _offered(base_url: str, key: str) -> list[str]:
    from gateway.cli.probes import ProbeFailed, models_of

    try:
        return list(models_of(base_url, key or None))
    except ProbeFailed as error:
        raise Failure(f"{base_url} {error}; nothing was written (--no-test writes all the same)") from None


def _test_channel(channel: str, values: Mapping[str, str]) -> None:
    from gateway.cli.probes import ProbeFailed
    from gateway.cli.providers import bot_name

    try:
        print(f"{channel}: {bot_name(channel, values, os.environ)}", file=sys.stderr)
    except ProbeFailed as error:
        raise Failure(f"{channel} {error}; nothing was written (--no-test writes all the same)") from None
