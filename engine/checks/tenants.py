"""P7: a tenant sees only its own. Hot tables have no foreign keys; these are what would have been refused."""

from sqlalchemy import text

from engine.checks.evidence import Evidence

# What is wrong → a count of the rows that are.
_ORPHANS: dict[str, str] = {
    "campaigns without account": "campaigns c where not exists (select from accounts a where a.id = c.account_id)",
    "keys without account": "api_keys k where not exists (select from accounts a where a.id = k.account_id)",
    "DIDs without account": "dids d where not exists (select from accounts a where a.id = d.account_id)",
    "operations without account": "operations o where not exists (select from accounts a where a.id = o.account_id)",
    "reputations of another account than their DID": (
        "did_reputation r left join dids d on d.id = r.did_id where d.account_id is distinct from r.account_id"
    ),
    "consents without account": "consents s where not exists (select from accounts a where a.id = s.account_id)",
    "suppressions without account": (
        "suppressions s where not exists (select from accounts a where a.id = s.account_id)"
    ),
    "event logs without account": "event_heads h where not exists (select from accounts a where a.id = h.account_id)",
    "counters without campaign": (
        "campaign_counts n where not exists (select from campaigns c where c.id = n.campaign_id)"
    ),
    "prospects of another account than their campaign": (
        "prospects p left join campaigns c on c.id = p.campaign_id where c.account_id is distinct from p.account_id"
    ),
    "attempts of another account, campaign or number than their prospect": (
        "attempts a left join prospects p on p.campaign_id = a.campaign_id and p.id = a.prospect_id"
        " where (p.account_id, p.phone) is distinct from (a.account_id, a.phone)"
    ),
    "deliveries of another account than their webhook": (
        "webhook_deliveries d join webhooks w on w.id = d.webhook_id where d.account_id <> w.account_id"
    ),
    "attempts from a DID of another account": (
        "attempts a left join dids d on d.id = a.did_id where d.account_id is distinct from a.account_id"
    ),
    "DIDs on a line of another account": (
        "dids d left join lines l on l.id = d.line_id"
        " where d.line_id is not null and l.account_id is distinct from d.account_id"
    ),
    "lines of another account's user or team": (
        "lines l left join users u on u.id = l.user_id left join teams t on t.id = l.team_id"
        " where (l.user_id is not null and u.account_id is distinct from l.account_id)"
        " or (l.team_id is not null and t.account_id is distinct from l.account_id)"
    ),
    "users in another account's team": (
        "users u left join teams t on t.id = u.team_id"
        " where u.team_id is not null and t.account_id is distinct from u.account_id"
    ),
    # A revoked or expired key may outlive its owner.
    "working keys of another account's user or team": (
        "api_keys k left join users u on u.id = k.user_id left join teams t on t.id = k.team_id"
        " where k.revoked_at is null and (k.expires_at is null or k.expires_at > now())"
        " and ((k.user_id is not null and u.account_id is distinct from k.account_id)"
        " or (k.team_id is not null and t.account_id is distinct from k.account_id))"
    ),
}


async def accounts_agree(evidence: Evidence) -> list[str]:
    """Every row belongs to the account of the row it hangs on."""
    problems = []
    async with evidence.engine.connect() as conn:
        for fault, rows in _ORPHANS.items():
            if found := (await conn.execute(text(f"select count(*) from {rows}"))).scalar():
                problems.append(f"{found} {fault}")
    return problems
