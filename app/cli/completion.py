"""`belfry completion`: the script that lets a shell complete Belfry's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    r"""Print the completion script for SHELL.

    \b
    bash: belfry completion bash > ~/.local/share/bash-completion/completions/belfry
    zsh:  belfry completion zsh > ~/.zfunc/_belfry
    fish: belfry completion fish > ~/.config/fish/completions/belfry.fish
    """
    script = get_completion_class(shell)
    assert script, f"click has no completion for {shell}"  # noqa: S101 - the choice lists those that it has
    click.echo(script(context.find_root().command, {}, "belfry", "_BELFRY_COMPLETE").source())
