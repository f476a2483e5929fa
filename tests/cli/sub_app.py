"""A stand-in sub-application of the `carillon` command."""

import typer

from engine.errors import Misconfigured

app = typer.Typer(add_completion=False)


@app.command()
def greet(name: str = typer.Option(...)) -> None:
    print(f"hello {name}")


@app.command()
def fail() -> None:
    raise Misconfigured("the port is taken:\nchoose another with --port")
