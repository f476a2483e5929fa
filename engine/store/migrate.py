"""Brings a database to the newest schema: expand, then contract, each step short enough to run beside live traffic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine

from engine.clock import real_now
from engine.store import partitions
from engine.store.hosts import sqlalchemy_url

LOCK_TIMEOUT_MS = 3_000


def alembic_config(url: str, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> Config:
    """The configuration of this package's migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(url).replace("%", "%%"))
    config.attributes["lock_timeout_ms"] = lock_timeout_ms
    return config


def upgrade(url: str, revision: str = "head", *, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> None:
    """Runs every migration up to `revision` and makes the coming days' partitions. Doing it again changes nothing.

    Blocking. Raises what PostgreSQL raises, a lock not had within `lock_timeout_ms` included.
    """
    command.upgrade(alembic_config(url, lock_timeout_ms), revision)
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as conn:
        partitions.create_ahead(conn, real_now().date())
