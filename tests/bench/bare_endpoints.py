"""The least that FastAPI does for the bridge's two busiest endpoints: `python bare_endpoints.py PORT` serves them.

One process with the bridge's own server, event loop and settings; no key, no limit, no log, no store: it reads the path
and the body, and gives the same answer as the bridge, whose bytes are ready.
"""

import sys

import uvicorn
from fastapi import FastAPI, Response

app = FastAPI()

_STARTED = b'{"run_id":"run_0f8c1e5b7a924d06b3d1c2a4e6f80917","status":"pending"}'
_COMPLETED = (
    b'{"run_id":"%b","status":"completed","progress":100,"records_processed":48211,'
    b'"started_at":"2026-11-03T06:00:04Z","completed_at":"2026-11-03T06:00:46.120394Z"}'
)


@app.post("/api/v1/pipelines/run/{org}/{provider}/{domain}/{pipeline}")
async def start_run(org: str, provider: str, domain: str, pipeline: str, body: dict[str, str]) -> Response:
    """As if a run had been started."""
    return Response(_STARTED, media_type="application/json")


@app.get("/api/v1/pipelines/status/{org}/{run_id}")
async def get_status(org: str, run_id: str) -> Response:
    """As if that were its status."""
    return Response(_COMPLETED % run_id.encode(), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
