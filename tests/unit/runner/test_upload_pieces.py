"""An upload holds a small piece of its file in memory: Google's client takes its size from where we set it."""

import io
from types import SimpleNamespace
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import LoadJobConfig

from pipeline_runner.bigquery.library import bigquery

MIB = 1024 * 1024


class Uploads:
    """An HTTP session that keeps the sizes of what is sent, and says 308 until all has come."""

    is_mtls = False

    def __init__(self, size: int) -> None:
        self.sizes: list[int] = []
        self._left = size

    def request(self, method: str, _url: str, data: bytes | None = None, **_: Any) -> SimpleNamespace:
        if method == "POST":
            return SimpleNamespace(status_code=200, headers={"location": "http://upload/1"}, content=b"")
        assert data is not None
        self.sizes.append(len(data))
        self._left -= len(data)
        if self._left:
            return SimpleNamespace(status_code=308, headers={"range": f"bytes=0-{sum(self.sizes) - 1}"}, content=b"")
        job = {"jobReference": {"projectId": "p", "jobId": "j"}, "configuration": {"load": {}}, "status": {}}
        return SimpleNamespace(status_code=200, headers={}, content=b"", json=lambda: job)


def test_a_file_goes_in_pieces() -> None:
    uploads = Uploads(20 * MIB)
    client = bigquery.Client(project="p", credentials=AnonymousCredentials(), _http=uploads)
    client.load_table_from_file(io.BytesIO(bytes(20 * MIB)), "p.d.t", job_config=LoadJobConfig())
    assert uploads.sizes == [8 * MIB, 8 * MIB, 4 * MIB]
