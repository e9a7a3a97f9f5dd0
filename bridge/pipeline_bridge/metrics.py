"""The bridge's metrics; docs/operations/metrics.md says what each means. No label holds a run's or tenant's name."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0)

REQUESTS = Counter(
    "pipelines_bridge_requests_total", "Requests, by how they were answered.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "pipelines_bridge_request_seconds", "Time to answer a request, streams apart.", ["route"], buckets=_BUCKETS
)
REJECTIONS = Counter("pipelines_bridge_rejections_total", "Refusals, by the reason of the problem.", ["reason"])
OPEN_STREAMS = Gauge("pipelines_bridge_open_streams", "Streams of events and of logs that are being served.")
REFUSED_CONNECTIONS = Counter("pipelines_bridge_refused_connections_total", "Connections closed as too many.")
READY = Gauge("pipelines_bridge_ready", "Whether this process takes requests.")

# To look a series up takes as long as the rest of the middleware; their number is bounded, as labels are.
request_count = cache(REQUESTS.labels)
rejection_count = cache(REJECTIONS.labels)
request_seconds = cache(REQUEST_SECONDS.labels)
