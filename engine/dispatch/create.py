"""The request that an intent allows."""

from engine.carriers.port import PlaceCall, SendMessage
from engine.dispatch.intent import Intent
from engine.ids import attempt_ref
from engine.rules.campaign_config import VoiceMode
from engine.settings import Settings


def create_request(intent: Intent, settings: Settings) -> PlaceCall | SendMessage:
    """Numbers as committed, everything else from the campaign's mode."""
    hint, mode = intent.hint, intent.campaign.mode
    ref = attempt_ref(hint.campaign_id, hint.prospect_id, hint.attempt)
    callback_url = f"{settings.public_url}/carriers/{intent.campaign.carrier}/callbacks"
    data = intent.data or {}
    if intent.message is not None:
        said = intent.message
        return SendMessage(
            ref=ref,
            to=hint.phone,
            from_=hint.from_number,
            text=said.text,
            callback_url=callback_url,
            not_after=intent.not_after,
            media_urls=said.media_urls,
        )
    assert isinstance(mode, VoiceMode)
    longest = data.get("maxDuration") if intent.campaign.is_direct else None
    return PlaceCall(
        ref=ref,
        to=hint.phone,
        from_=hint.from_number,
        ring_timeout_s=mode.ring_timeout_s,
        max_duration_s=longest if isinstance(longest, int) else mode.max_duration_s,
        amd=True,
        callback_url=callback_url,
        not_after=intent.not_after,
    )
