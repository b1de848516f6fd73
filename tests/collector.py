"""A collector of traces: the receiving side of OTLP over gRPC, which keeps what it gets."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as wire

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class Span:
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict


class Collector(grpc.GenericRpcHandler):
    def __init__(self):
        self.spans = []
        self.server = grpc.server(ThreadPoolExecutor(2), handlers=[self])
        self.endpoint = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details):
        if details.method != EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self.export, wire.ExportTraceServiceRequest.FromString, wire.ExportTraceServiceResponse.SerializeToString)

    def export(self, request, _context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += map(self.read, scope.spans)
        return wire.ExportTraceServiceResponse()

    @staticmethod
    def read(span):
        attributes = {each.key: each.value.string_value for each in span.attributes}
        return Span(span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), attributes)

    def of(self, trace):
        return [span for span in self.spans if span.trace == trace]

    def stop(self):
        self.server.stop(0)
