"""What the modules of tables share: one `metadata`, and the form of a time."""

from sqlalchemy import Column, DateTime, MetaData, text

metadata = MetaData()


def at(name: str, *, nullable: bool = True, default: str | None = None) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=text(default) if default else None)
