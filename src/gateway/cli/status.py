"""`gateway status`: what the running gateway is doing."""

from typing import Any

import typer

from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption, JsonOption, print_json, print_table
from gateway.observability.redaction import escape_controls

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Live state; exit code 1 where none runs."""
    from gateway.cli.office import Office
    from gateway.cli.running import admin_token, http, process_exists, read_running_file

    office = Office(config)
    if office.running is None:
        said = read_running_file(office.loaded.home)
        if said is not None and process_exists(said.pid):
            raise Failure(f"the gateway (pid {said.pid}) does not answer on {said.url}; next: gateway doctor")
        if as_json:
            print_json({"running": False, "next": "gateway run"})
            raise typer.Exit(1)
        raise Failure(f"no gateway runs on {office.loaded.home}; start one: gateway run")
    try:
        token = admin_token(office.loaded.home)
        code, state = http(office.running.url + "/status", token=token, certificate=office.certificate)
    except OSError as error:
        raise Failure(
            f"the running gateway (pid {office.running.pid}) did not tell: {error}; next: gateway doctor"
        ) from None
    if code != 200 or not isinstance(state, dict):
        raise Failure(f"the running gateway (pid {office.running.pid}) did not tell: HTTP {code}; next: gateway doctor")
    if as_json:
        print_json({"running": True, "pid": office.running.pid, "url": office.running.url, **state})
        return
    print(f"running   pid {office.running.pid}, {office.running.url}")
    for name, value in state.items():
        if name not in ("uptime", "channels"):  # `uptime_seconds` says the same
            _line(name, value)
    channels = [{"channel": name, **value} for name, value in state.get("channels", {}).items()]
    print_table(channels, ("channel", "state", "since", "queued", "reason"), "no channels")


def _line(name: str, value: Any) -> None:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        print(f"{name}")
        print_table(value, list(value[0])[:6], "none")
    else:
        print(f"{name:<9} {_words(value)}")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(_words(each) for each in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape_controls("-" if value is None else str(value))
