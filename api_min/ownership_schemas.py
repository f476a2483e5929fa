"""Requests and answers of teams, users, lines, and of a number's change of line."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class _Out(BaseModel):
    model_config = ConfigDict(extra="allow", alias_generator=to_camel)


class TeamIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Support"}]})

    name: str = Field(min_length=1, max_length=200)


class TeamOut(_Out):
    id: str = Field(examples=["team_01hq3v8x2k4tz"])
    name: str
    created_at: str


class TeamsOut(_Out):
    teams: list[TeamOut]


class UserIn(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Ann", "teamId": "team_01hq3v8x2k4tz"}]})

    name: str = Field(min_length=1, max_length=200)
    team_id: str | None = None


class UserOut(_Out):
    id: str = Field(examples=["user_01hq3v8x2k4tz"])
    name: str
    team_id: str | None
    created_at: str


class UsersOut(_Out):
    users: list[UserOut]


class LineIn(_In):
    """Of a user or of a team, never both; of the whole account without either."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Ann", "userId": "user_01hq3v8x2k4tz"}]})

    name: str = Field(min_length=1, max_length=200)
    user_id: str | None = None
    team_id: str | None = None


class LineOut(_Out):
    id: str = Field(examples=["line_01hq3v8x2k4tz"])
    name: str
    user_id: str | None
    team_id: str | None
    created_at: str


class LinesOut(_Out):
    lines: list[LineOut]


class DidChange(_In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"lineId": "line_01hq3v8x2k4tz"}]})

    line_id: str | None = Field(None, description="null: the whole account's")
    label: str = Field("", max_length=200)
