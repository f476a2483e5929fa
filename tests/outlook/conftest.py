"""An api to ask, and campaigns to ask it about."""

from tests.api.conftest import api, client, plain_logs, serve

__all__ = ["api", "client", "plain_logs", "serve"]
