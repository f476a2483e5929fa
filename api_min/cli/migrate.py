"""`carillon migrate`: the release step of a deployment."""

import typer

from engine.settings import Settings
from engine.store.database import reaching
from engine.store.migrate import upgrade

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def migrate() -> None:
    """Bring the database at DATABASE_URL to the newest schema."""
    url = Settings().sqlalchemy_url
    with reaching():
        upgrade(url)
