"""Alembic's entry. The URL comes from `engine.store.migrate`; a short lock timeout keeps a migration from queueing
behind a long transaction and every writer behind the migration."""

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from engine.store.locks import named_key
from engine.store.tables import metadata


def run() -> None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=NullPool)
    with engine.connect() as connection:
        # Two deployments at once: the second waits here, however long, and then finds nothing to do.
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": named_key("migrations")})
        connection.execute(text(f"set lock_timeout = {context.config.attributes['lock_timeout_ms']}"))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


run()
