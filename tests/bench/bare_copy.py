"""The baseline of bench_runner: the shortest copy that Google's client can be used for. Not part of the product."""

import io
import os
import sys

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

_BATCH = 100_000
# The stand-in's messages are larger than the 4 MB that gRPC takes otherwise.
_OPTIONS = [("grpc.max_receive_message_length", -1)]


def main(source: str, target: str) -> None:
    """Copy every row of `source` into `target`, both project.dataset.table."""
    project = os.environ["PIPELINES_BIGQUERY_PROJECT"]
    client = bigquery.Client(project=project, credentials=AnonymousCredentials())
    table = client.get_table(source)
    client.delete_table(target, not_found_ok=True)
    client.create_table(bigquery.Table(target, schema=table.schema))
    address = os.environ["PIPELINES_BIGQUERY_STORAGE_ENDPOINT"].removeprefix("http://")
    transport = BigQueryReadGrpcTransport(channel=grpc.insecure_channel(address, options=_OPTIONS))
    reader = BigQueryReadClient(transport=transport, client_options=ClientOptions())
    path = "projects/{}/datasets/{}/tables/{}".format(*source.split("."))
    session = reader.create_read_session(
        parent=f"projects/{project}",
        read_session=types.ReadSession(table=path, data_format=types.DataFormat.ARROW),
        max_stream_count=1,
    )
    batches: list[pa.RecordBatch] = []
    for stream in session.streams:
        for page in reader.read_rows(stream.name).rows(session).pages:
            batches.append(page.to_arrow())
            if sum(batch.num_rows for batch in batches) >= _BATCH:
                _load(client, target, table.schema, batches)
                batches = []
    if batches:
        _load(client, target, table.schema, batches)


def _load(
    client: bigquery.Client, target: str, schema: list[bigquery.SchemaField], batches: list[pa.RecordBatch]
) -> None:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_batches(batches), file)
    file.seek(0)
    options = bigquery.ParquetOptions()
    options.enable_list_inference = True
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=schema, write_disposition="WRITE_APPEND")
    config.parquet_options = options
    client.load_table_from_file(file, target, job_config=config).result()


if __name__ == "__main__":
    main(*sys.argv[1:])
