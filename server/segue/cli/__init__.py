"""The `segue` command; what a subcommand imports is loaded only when it runs."""

import click

import segue as package


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, prog_name="segue")
def segue() -> None:
    """Keep the AI conversations that you have in your editors, and bring the right one back."""


@segue.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lsp(arguments: tuple[str, ...]) -> None:
    """Serve one editor window: JSON-RPC on stdio."""
    from segue.__main__ import serve

    raise SystemExit(serve(list(arguments)))


@segue.command()
def demo() -> None:
    """Record a conversation, be killed, and resume it, before your eyes."""
    from segue.cli.demo import run

    raise SystemExit(run())
