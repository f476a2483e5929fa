"""The components of incoming messages, for /docs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class ComponentOut(BaseModel):
    model_config = ConfigDict(extra="allow", alias_generator=to_camel)

    n: int
    content_type: str
    size: int | None = Field(description="bytes; null while it is not here")
    status: Literal["ready", "pending", "failed"]
    reason: str | None = Field(description="of a failed one: too_large, unsupported_type, refused, gone")


class ComponentsOut(BaseModel):
    components: list[ComponentOut]
