"""`gateway completion`: the script that lets a shell complete our commands and options."""

from typing import Annotated

import typer

from gateway.cli.failure import Failure

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def completion(shell: Annotated[str, typer.Argument(help="bash, zsh, fish or pwsh.")]) -> None:
    """Print the completion script of a shell: eval "$(gateway completion bash)"."""
    from typer._completion_shared import Shells, get_completion_script

    if shell not in {each.value for each in Shells}:
        raise Failure(f"{shell[:20]}: one of {', '.join(each.value for each in Shells)}", exit_code=2)
    print(get_completion_script(prog_name="gateway", complete_var="_GATEWAY_COMPLETE", shell=shell))
