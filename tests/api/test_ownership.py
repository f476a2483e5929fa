"""Teams, users, lines: whose numbers are whose, and that nothing in use can go."""

import asyncio

from engine.store import audit, dids, lines
from tests.api.harness import Api, Client

DID, OTHER_DID = "+19495551000", "+19495551001"
NOBODYS = "0000000000001"


async def made(client: Client, path: str, **body: object) -> str:
    answer = await client("POST", f"/api/{path}", {"name": "x", **body})
    assert answer.status == 201, answer.text
    return str(answer.json["id"])


async def test_from_a_team_to_the_owner_of_a_number(api: Api) -> None:
    client = await api.client()
    team = await made(client, "teams", name="Support")
    user = await made(client, "users", name="Ann", teamId=team)
    line = await made(client, "lines", name="Ann's", userId=user)
    number = await client("POST", "/api/dids", {"number": DID, "lineId": line})
    assert (number.status, number.json["lineId"]) == (201, line)
    assert (await client("GET", "/api/dids")).json["dids"] == [number.json]
    async with api.runtime.db.connect() as conn:
        did = await dids.find(conn, client.account_id, DID)
        assert did is not None
        assert await lines.owners(conn, [did.id]) == {did.id: (line, user, team)}
    assert (await client("GET", "/teams")).json["teams"][0] | {"createdAt": 0} == {
        "id": team,
        "name": "Support",
        "createdAt": 0,
    }
    assert [(each["name"], each["teamId"]) for each in (await client("GET", "/users")).json["users"]] == [("Ann", team)]
    (shown,) = (await client("GET", "/lines")).json["lines"]
    assert (shown["id"], shown["name"], shown["userId"], shown["teamId"]) == (line, "Ann's", user, None)


async def test_a_number_moves_from_line_to_line_and_back_to_the_account(api: Api) -> None:
    client = await api.client(numbers=[DID])
    line = await made(client, "lines")
    moved = await client("PATCH", f"/api/dids/{DID}", {"lineId": line})
    assert (moved.status, moved.json["lineId"], moved.json["label"]) == (200, line, "")
    renamed = await client("PATCH", f"/api/dids/{DID}", {"label": "front desk"})
    assert (renamed.json["lineId"], renamed.json["label"]) == (line, "front desk")
    back = await client("PATCH", f"/dids/{DID}", {"lineId": None})
    assert (back.json["lineId"], back.json["label"]) == (None, "front desk")
    assert (await client("GET", "/api/dids")).json["dids"] == [back.json]


async def test_keys_belong_to_a_user_or_a_team_or_to_nobody(api: Api) -> None:
    client = await api.client()
    team = await made(client, "teams")
    user, alone = await made(client, "users", teamId=team), await made(client, "users")
    owners: list[dict[str, str]] = [{"userId": user}, {"userId": alone}, {"teamId": team}, {}]
    keys = [await client("POST", "/api/keys", {"name": "k", "scopes": ["sms:read"], **owner}) for owner in owners]
    shown = [(user, None), (alone, None), (None, team), (None, None)]
    assert [(key.json["userId"], key.json["teamId"]) for key in keys] == shown
    callers = [await api.held.keys.identify(key.json["key"]) for key in keys]
    assert [(caller.user, caller.team) for caller in callers] == [(user, team), (alone, ""), ("", team), ("", "")]
    listed = (await client("GET", "/api/keys")).json["keys"]
    assert [(key["userId"], key["teamId"]) for key in sorted(listed, key=lambda key: key["id"])[-4:]] == shown


WRONG: list[tuple[str, dict[str, object], set[str]]] = [
    ("teams", {"name": ""}, {"name"}),
    ("teams", {}, {"name"}),
    ("teams", {"name": "x" * 201}, {"name"}),
    ("teams", {"name": "x", "boss": 1}, {"boss"}),
    ("users", {"name": "x", "teamId": 7}, {"teamId"}),
    ("users", {"name": "x", "teamId": "team_x"}, {"teamId"}),
    ("users", {"name": "x", "teamId": f"user_{NOBODYS}"}, {"teamId"}),
    ("users", {"name": "x", "teamId": f"team_{NOBODYS}"}, {"teamId"}),
    ("lines", {"name": "x", "userId": f"user_{NOBODYS}"}, {"userId"}),
    ("lines", {"name": "x", "userId": f"user_{NOBODYS}", "teamId": f"team_{NOBODYS}"}, {"userId", "teamId"}),
    ("keys", {"name": "x", "scopes": ["*"], "userId": f"user_{NOBODYS}"}, {"userId"}),
    ("keys", {"name": "x", "scopes": ["*"], "userId": "a", "teamId": "b"}, {"userId", "teamId"}),
    ("dids", {"number": "+19495551009", "lineId": f"line_{NOBODYS}"}, {"lineId"}),
]


async def test_what_is_wrong_is_named_and_nothing_is_made(api: Api) -> None:
    client = await api.client()
    for path, body, fields in WRONG:
        answer = await client("POST", f"/api/{path}", body)
        assert (answer.status, answer.error["code"]) == (400, "validation_error"), answer.text
        assert answer.error["fields"].keys() == fields
    for path in ("teams", "users", "lines", "dids"):
        assert (await client("GET", f"/api/{path}")).json == {path: []}
    assert len((await client("GET", "/api/keys")).json["keys"]) == 1


WRONG_CHANGES: list[tuple[str, dict[str, object], int]] = [
    (DID, {}, 400),
    (DID, {"lineId": "line_x"}, 400),
    (DID, {"lineId": f"line_{NOBODYS}"}, 400),
    (DID, {"label": None}, 400),
    (DID, {"number": OTHER_DID}, 400),
    (OTHER_DID, {"label": "x"}, 404),
    ("nonsense", {"label": "x"}, 404),
]


async def test_a_wrong_change_of_a_number_changes_nothing(api: Api) -> None:
    client = await api.client(numbers=[DID])
    before = (await client("GET", "/api/dids")).json
    for number, body, status in WRONG_CHANGES:
        answer = await client("PATCH", f"/api/dids/{number}", body)
        assert answer.status == status, answer.text
        assert (await client("GET", "/api/dids")).json == before


async def test_what_is_in_use_stays_and_its_users_are_named(api: Api) -> None:
    client = await api.client()
    team = await made(client, "teams")
    user = await made(client, "users", teamId=team)
    line = await made(client, "lines", userId=user)
    team_line = await made(client, "lines", teamId=team)
    keys = [
        (await client("POST", "/api/keys", {"name": "k", "scopes": ["*"], **owner})).json["id"]
        for owner in ({"userId": user}, {"teamId": team})
    ]
    await client("POST", "/api/dids", {"number": DID, "lineId": line})

    async def refused(path: str, fields: dict[str, list[str]]) -> None:
        answer = await client("DELETE", f"/api/{path}")
        assert (answer.status, answer.error["code"]) == (409, "conflict")
        assert answer.error["fields"] == fields
        assert all(name in answer.error["message"] for names in fields.values() for name in names)

    async def deleted(path: str) -> None:
        assert (await client("DELETE", f"/api/{path}")).status == 204
        assert (await client("DELETE", f"/api/{path}")).status == 404

    await refused(f"teams/{team}", {"users": [user], "lines": [team_line], "keys": [keys[1]]})
    await refused(f"users/{user}", {"lines": [line], "keys": [keys[0]]})
    await refused(f"lines/{line}", {"dids": [DID]})
    await client("PATCH", f"/api/dids/{DID}", {"lineId": None})
    for key in keys:
        assert (await client("DELETE", f"/api/keys/{key}")).status == 204  # one that is revoked uses nothing
    for path in (f"lines/{line}", f"lines/{team_line}", f"users/{user}", f"teams/{team}"):
        await deleted(path)


async def test_another_accounts_things_are_as_unknown_as_those_that_do_not_exist(api: Api) -> None:
    owner, stranger = await api.client(numbers=[DID]), await api.client(numbers=[OTHER_DID])
    team = await made(owner, "teams")
    user, line = await made(owner, "users", teamId=team), await made(owner, "lines")
    for path, body in (
        ("users", {"name": "x", "teamId": team}),
        ("lines", {"name": "x", "userId": user}),
        ("keys", {"name": "x", "scopes": ["*"], "teamId": team}),
        ("dids", {"number": "+19495551009", "lineId": line}),
    ):
        theirs = await stranger("POST", f"/api/{path}", body)
        unknown = await stranger("POST", f"/api/{path}", swap(body))
        assert theirs.status == unknown.status == 400
        assert list(theirs.error["fields"]) == list(unknown.error["fields"])
    assert (await stranger("PATCH", f"/api/dids/{OTHER_DID}", {"lineId": line})).status == 400
    assert (await stranger("PATCH", f"/api/dids/{DID}", {"lineId": None})).status == 404
    for path in (f"teams/{team}", f"users/{user}", f"lines/{line}"):
        assert (await stranger("DELETE", f"/api/{path}")).status == 404
    for path in ("teams", "users", "lines"):
        assert (await stranger("GET", f"/api/{path}")).json == {path: []}
        assert len((await owner("GET", f"/api/{path}")).json[path]) == 1


def swap(body: dict[str, object]) -> dict[str, object]:
    """The same with an id that nobody has."""
    return {
        key: f"{str(value).partition('_')[0]}_{NOBODYS}" if key.endswith("Id") else value for key, value in body.items()
    }


async def test_lists_come_in_pages(api: Api) -> None:
    client = await api.client()
    for path in ("teams", "users", "lines"):
        ids = [await made(client, path, name=str(n)) for n in range(3)]
        first = (await client("GET", f"/api/{path}?limit=2")).json
        assert [each["id"] for each in first[path]] == sorted(ids)[:2]
        rest = (await client("GET", f"/api/{path}?limit=2&cursor={first['nextCursor']}")).json
        assert ([each["id"] for each in rest[path]], rest["nextCursor"]) == (sorted(ids)[2:], None)


async def test_changes_are_on_record(api: Api) -> None:
    client = await api.client(numbers=[DID])
    team = await made(client, "teams")
    user = await made(client, "users", teamId=team)
    line = await made(client, "lines", userId=user)
    await client("PATCH", f"/api/dids/{DID}", {"lineId": line})
    await client("PATCH", f"/api/dids/{DID}", {"lineId": None})
    for path in (f"lines/{line}", f"users/{user}", f"teams/{team}"):
        await client("DELETE", f"/api/{path}")
    async with api.runtime.db.connect() as conn:
        entries = (await audit.page(conn, client.account_id, 100))[::-1]
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("team.create", team),
        ("user.create", user),
        ("line.create", line),
        ("did.change", DID),
        ("did.change", DID),
        ("line.delete", line),
        ("user.delete", user),
        ("team.delete", team),
    ]
    assert entries[3].detail["lineId"] == line
    assert {entry.actor for entry in entries} == {(await api.held.keys.identify(client.key)).actor}


async def test_nothing_comes_to_belong_to_what_is_being_deleted(api: Api) -> None:
    """Many races of a deletion with something that would use what is deleted: one of the two is always refused."""
    client = await api.client(numbers=[DID])
    for _ in range(10):
        line = await made(client, "lines")
        moved, deleted = await asyncio.gather(
            client("PATCH", f"/api/dids/{DID}", {"lineId": line}), client("DELETE", f"/api/lines/{line}")
        )
        assert (moved.status, deleted.status) in {(200, 409), (400, 204)}
        await client("PATCH", f"/api/dids/{DID}", {"lineId": None})
