"""A baseline of bench_runner: dlt copies one flat table. Run by an environment of its own that has dlt in it.

dlt is fed by Google's client, the Storage Read API in the Arrow batches that come, since none of its own sources reads
BigQuery that way. The rest is dlt's: it writes Parquet, normalizes, and loads the files into its destination.
"""

import os
import sys
import tempfile
from collections.abc import Iterator

import dlt
import grpc
import pyarrow as pa
from dlt.common.configuration.specs import GcpServiceAccountCredentials
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport


def main(source: str, target: str) -> None:
    """Copy every row of `source` (project.dataset.table) into `target` (dataset.table), in place of what it holds."""
    project = os.environ["PIPELINES_BIGQUERY_PROJECT"]
    dataset, _, table = target.partition(".")
    # the stand-in knows no credentials, and dlt none that are anonymous
    GcpServiceAccountCredentials.to_native_credentials = lambda _: AnonymousCredentials()
    credentials = GcpServiceAccountCredentials(project_id=project, private_key="none", client_email="none@localhost")
    destination = dlt.destinations.bigquery(credentials=credentials, location="US")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=destination, dataset_name=dataset)
        rows = dlt.resource(_batches(project, source), name=table, write_disposition="replace")
        pipeline.run(rows, loader_file_format="parquet").raise_on_failed_jobs()


def _batches(project: str, source: str) -> Iterator[pa.Table]:
    address = os.environ["PIPELINES_BIGQUERY_STORAGE_ENDPOINT"].removeprefix("http://")
    # the stand-in's messages are larger than the 4 MB that gRPC takes otherwise
    channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
    reader = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    session = reader.create_read_session(
        parent=f"projects/{project}",
        read_session=types.ReadSession(
            table="projects/{}/datasets/{}/tables/{}".format(*source.split(".")), data_format=types.DataFormat.ARROW
        ),
        max_stream_count=10,
    )
    for stream in session.streams:
        for page in reader.read_rows(stream.name).rows(session).pages:
            yield pa.Table.from_batches([page.to_arrow()])


if __name__ == "__main__":
    main(*sys.argv[1:])
