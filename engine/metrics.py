"""Every Prometheus metric of every process, in one file, and the private port that serves them.

Names follow Prometheus: base units (seconds), `_total` for counters. Hot paths count once per batch, so a metric costs
microseconds per five hundred jobs. Labels are closed sets: never an id, a number or a path as the client sent it.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Health = Callable[[], Mapping[str, bool]]

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_WAIT_S = (0.005, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0)

# dispatch
ATTEMPTS = Counter("carillon_attempts_total", "Attempts that ended.", ["channel", "outcome"])
CREATES = Counter("carillon_creates_total", "Creates by what they left behind.", ["carrier", "outcome"])
INTENTS_REFUSED = Counter("carillon_intents_refused_total", "Intents refused by a rule.", ["reason"])
INTENT_SECONDS = Histogram("carillon_intent_seconds", "One batch's intent transaction.", buckets=_FAST_S)
CREATE_SECONDS = Histogram("carillon_create_seconds", "Create sent to answer.", buckets=_FAST_S)
LIMITER_WAIT_SECONDS = Histogram("carillon_limiter_wait_seconds", "Waiting for a send slot.", buckets=_FAST_S)
HELD_BACK_SECONDS = Counter(
    "carillon_held_back_seconds_total", "Hints waiting for what calls tell to be settled.", ["channel"]
)
SLOTS_FORFEITED = Counter("carillon_slots_forfeited_total", "Send slots missed and given up.")
LANES_CLOSED = Counter("carillon_lanes_closed_total", "Refusals for a carrier's own rate.", ["carrier"])
TICKETS_EXPIRED = Counter("carillon_tickets_expired_total", "Intents whose ticket ran out before a byte was sent.")
UNKNOWN_OPEN = Gauge("carillon_unknown_open", "Attempts whose create is doubtful and not yet reconciled.")

# who may be contacted
SUPPRESSED = Counter("carillon_suppressed_total", "Numbers that the API put on suppression lists.", ["how"])
REGISTRY_AGE_DAYS = Gauge("carillon_registry_age_days", "Age of a registry's copy; of use up to 31.", ["registry"])
REGISTRY_PAUSES = Counter("carillon_registry_pauses_total", "Campaigns paused for want of a fresh copy.", ["reason"])

# queues and coordinator
QUEUE_DEPTH = Gauge("carillon_queue_depth", "Messages waiting in a queue.", ["queue"])
QUEUE_AGE_SECONDS = Histogram("carillon_queue_age_seconds", "Enqueued to begun.", ["queue"], buckets=_WAIT_S)
LEASES_HELD = Gauge("carillon_leases_held", "Campaigns that this coordinator holds.")
DUTY_AGE_SECONDS = Gauge(
    "carillon_coordinator_duty_age_seconds", "Since the duty was last done, of two that all work depends on.", ["duty"]
)
CLAIMED = Counter("carillon_prospects_enqueued_total", "Prospects put into a queue.", ["channel"])
PUT_OFF = Counter("carillon_prospects_put_off_total", "Prospects whose window was closed when they fell due.")
TICK_SECONDS = Histogram("carillon_coordinator_tick_seconds", "One round of the coordinator.", buckets=_FAST_S)
PACING_STAGES = Counter("carillon_pacing_stages_total", "Stages that predictive campaigns entered.", ["stage"])

# the DID pool
DIDS = Gauge("carillon_dids", "Own numbers by state, over all accounts.", ["state"])
OPERATIONS = Counter("carillon_operations_total", "Operations at carriers that ended.", ["kind", "status"])

# carriers' callbacks
CALLBACKS = Counter("carillon_callbacks_total", "Callbacks by what became of them.", ["carrier", "result"])
INBOUND = Counter("carillon_inbound_total", "What people sent to us.", ["carrier", "channel", "meaning"])
SETTLE_SECONDS = Histogram("carillon_settle_seconds", "One batch's settle transaction.", buckets=_FAST_S)

# events
RELAY_EVENTS = Counter("carillon_relay_events_total", "Events that got their number.")
RELAY_LAG_SECONDS = Gauge("carillon_relay_lag_seconds", "Age of the oldest event without a number.")
STREAMS_OPEN = Gauge("carillon_streams_open", "Clients connected to event streams.", ["dialect"])
STREAMS_CUT = Counter("carillon_streams_cut_total", "Streams ended by us.", ["reason"])

# webhooks
WEBHOOK_ATTEMPTS = Counter(
    "carillon_webhook_attempts_total", "Requests to endpoints by what came of them.", ["outcome"]
)
WEBHOOK_GIVEN_UP = Counter(
    "carillon_webhook_given_up_total", "Events whose time was over before their endpoint accepted them."
)
WEBHOOK_DELAY_SECONDS = Histogram(
    "carillon_webhook_delay_seconds", "Event seen to accepted, at the first attempt.", buckets=_WAIT_S
)
WEBHOOKS_PARKED = Gauge("carillon_webhooks_parked", "Endpoints that get one probe at a time, since they fail.")

# the public API
HTTP_REQUESTS = Counter("carillon_http_requests_total", "Requests answered.", ["method", "route", "status"])
CONNECTIONS_REFUSED = Counter("carillon_connections_refused_total", "Connections over the most that may be open.")
HTTP_SECONDS = Histogram("carillon_http_request_seconds", "Request to last byte.", ["method", "route"], buckets=_FAST_S)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the parent's signature
        """Scrapes are not worth a log line."""


def serve(host: str, port: int, health: Health) -> int:
    """Serves `/metrics` and `/healthz` from a daemon thread; returns the port (`port` 0 takes a free one).

    `health` names its checks, e.g. `{"database": True}`; one False makes `/healthz` answer 503. It is called in the
    server's thread, so it should read state rather than ask servers. Raises OSError when the port is taken.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # one more time series each, that nobody reads
    server = make_server(host, port, _application(health), server_class=_Server, handler_class=_Silent)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server.server_port


def _application(health: Health) -> "Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]":
    metrics = make_wsgi_app(REGISTRY)

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                answer: Iterable[bytes] = metrics(environ, start_response)
                return answer
            case "/healthz":
                checks = dict(health())
                status = "200 OK" if all(checks.values()) else "503 Service Unavailable"
                body = orjson.dumps({"ok": all(checks.values()), "checks": checks})
            case _:
                status, body = "404 Not Found", b'{"error":"try /metrics or /healthz"}'
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return application
