"""A proxy before a gRPC server that notes which methods are called, and hands on the messages as they are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]

# Messages of rows are larger than gRPC's own limit.
_ANY_LENGTH = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcProxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The proxy's address, and the methods that were called, as `/package.Service/Method`."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.seen: list[str] = []
        self._channel = grpc.insecure_channel(urlsplit(upstream).netloc, options=_ANY_LENGTH)

    def service(self, handler_call_details: Any) -> Any:
        """How a call is answered. Any is taken for one of streams, which on the wire is no different."""
        method = handler_call_details.method
        self.seen.append(method)

        def answers(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = self._channel.stream_stream(method)(requests, metadata=context.invocation_metadata())
            context.add_callback(call.cancel)
            try:
                yield from call
            except grpc.RpcError:
                context.abort(call.code(), call.details())

        return grpc.stream_stream_rpc_method_handler(answers)


@contextmanager
def grpc_proxy(upstream: str) -> Iterator[GrpcProxy]:
    """A running proxy before `http://host:port`, on a free port of the loopback interface."""
    made = GrpcProxy(upstream)
    server = grpc.server(ThreadPoolExecutor(8), options=_ANY_LENGTH)
    server.add_generic_rpc_handlers((made,))
    made.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(None).wait()
        made._channel.close()
