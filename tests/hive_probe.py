"""HiveServer2's Thrift protocol as it is on the wire: one call at a time, with PyHive's own structs."""

import base64
import io
import socket
import ssl
import struct

from TCLIService import TCLIService, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport import TSocket, TSSLSocket, TTransport
from thrift.transport.THttpClient import THttpClient

SUCCESS, ERROR = 0, 3


def sasl_login(sock, user="ann", password="x", mechanism=b"PLAIN", status=2, authzid=""):
    """Logs in; the status and text that the server ends with."""
    response = f"{authzid}\0{user}\0{password}".encode()
    for code, payload in ((1, mechanism), (status, response)):
        sock.sendall(struct.pack(">BI", code, len(payload)) + payload)
    head = receive(sock, 5)
    if not head:
        return None
    code, length = struct.unpack(">BI", head)
    return code, receive(sock, length).decode()


def basic(user, password="x"):
    """The head of a login over HTTP."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def receive(sock, length):
    """So many bytes, or none if the server has closed."""
    got = b""
    while len(got) < length:
        part = sock.recv(length - len(got))
        if not part:
            return b""
        got += part
    return got


def trusting(ca):
    return ssl.create_default_context(cafile=ca)


def patient(host, port, ca=None):
    """A socket whose deadline only bounds a failing test."""
    made = TSSLSocket.TSSLSocket(host, int(port), ssl_context=trusting(ca)) if ca else TSocket.TSocket(host, int(port))
    made.setTimeout(120_000)
    return made


class Sasl(TTransport.TBufferedTransport):
    """PLAIN over a socket, without a library of its own."""

    def __init__(self, transport, **login):
        super().__init__(transport)
        transport.open()
        self.answered = sasl_login(transport.handle, **login)
        assert self.answered == (5, ""), self.answered
        self.raw, self.frame, self.out = transport, io.BytesIO(), b""

    def read(self, size):
        while not (taken := self.frame.read(size)):
            (length,) = struct.unpack(">I", self.raw.readAll(4))
            self.frame = io.BytesIO(self.raw.readAll(length))
        return taken

    def write(self, data):
        self.out += data

    def flush(self):
        data, self.out = self.out, b""
        self.raw.write(struct.pack(">I", len(data)) + data)
        self.raw.flush()


class Probe(TCLIService.Client):
    """A connection with the generated calls, and short forms of the usual ones. Sessions share a driver if not told."""

    def __init__(self, address, transport="sasl", strict=True, headers=None, path="/cliservice", ca=None, **login):
        host, port = address.rsplit(":", 1)
        if transport == "http":
            self.transport = THttpClient(f"{'https' if ca else 'http'}://{address}{path}", ssl_context=trusting(ca) if ca else None)
            self.transport.setCustomHeaders(headers or {})
        elif transport == "nosasl":
            self.transport = TTransport.TBufferedTransport(patient(host, port, ca))
            self.transport.open()
        else:
            self.transport = Sasl(patient(host, port, ca), **login)
        super().__init__(TBinaryProtocol(self.transport, strictRead=False, strictWrite=strict))
        self.session = None

    def open(self, version=5, username=None, password=None, conf=None, profile="together"):
        conf = {"berth.profile": profile, **(conf or {})}
        request = ttypes.TOpenSessionReq(client_protocol=version, username=username, password=password, configuration=conf)
        response = self.OpenSession(request)
        self.session = response.sessionHandle
        return response

    def execute(self, statement, asynchronous=False, timeout=0, overlay=None):
        request = ttypes.TExecuteStatementReq(self.session, statement, overlay, asynchronous)
        request.queryTimeout = timeout
        return self.ExecuteStatement(request)

    def run(self, statement):
        """A statement that succeeds; its handle."""
        response = self.execute(statement)
        assert response.status.statusCode == SUCCESS, response.status.errorMessage
        return response.operationHandle

    def fetch(self, operation, rows=1000, orientation=0, kind=0):
        response = self.FetchResults(ttypes.TFetchResultsReq(operation, orientation, rows, kind))
        if response.status.statusCode == SUCCESS:
            # Kyuubi's driver repeats a row then.
            assert count(response.results) or not response.hasMoreRows, "hs2#28: no row, and more are to come"
        return response

    def rows(self, operation, **how):
        """The rows of one fetch."""
        response = self.fetch(operation, **how)
        assert response.status.statusCode == SUCCESS, response.status.errorMessage
        return cells(response.results)

    def value(self, statement):
        ((value,),) = self.rows(self.run(statement))
        return value

    def columns(self, operation):
        """Name and type number of each column."""
        response = self.GetResultSetMetadata(ttypes.TGetResultSetMetadataReq(operation))
        assert response.status.statusCode == SUCCESS, response.status.errorMessage
        return [(each.columnName, each.typeDesc.types[0].primitiveEntry.type) for each in response.schema.columns]

    def status(self, operation):
        return self.GetOperationStatus(ttypes.TGetOperationStatusReq(operation))

    def wait(self, operation):
        """The status at the end."""
        while True:
            status = self.status(operation)
            if status.operationState not in (0, 1, 7):
                return status

    def cancel(self, operation):
        return self.CancelOperation(ttypes.TCancelOperationReq(operation)).status

    def close_operation(self, operation):
        return self.CloseOperation(ttypes.TCloseOperationReq(operation)).status

    def close_session(self):
        return self.CloseSession(ttypes.TCloseSessionReq(self.session)).status

    def info(self, number):
        return self.GetInfo(ttypes.TGetInfoReq(self.session, number))

    def raw(self, method, *values):
        """A call that has no generated class: the kind of message that answers it, and its fields by their numbers."""
        self._oprot.writeMessageBegin(method, TMessageType.CALL, 7)
        self._oprot.writeFieldBegin("req", TType.STRUCT, 1)
        for number, value in enumerate(values, 1):
            write_field(self._oprot, number, value)
        self._oprot.writeFieldStop()
        self._oprot.writeFieldStop()
        self._oprot.trans.flush()
        name, kind, sequence = self._iprot.readMessageBegin()
        assert (name, sequence) == (method, 7)
        return kind, fields(self._iprot)

    def leave(self):
        self.transport.close()


def write_field(protocol, number, value):
    kinds = {str: TType.STRING, bytes: TType.STRING, dict: TType.MAP}
    protocol.writeFieldBegin("", kinds.get(type(value), TType.STRUCT), number)
    if isinstance(value, str):
        protocol.writeString(value)
    elif isinstance(value, bytes):
        protocol.writeBinary(value)
    elif isinstance(value, dict):
        protocol.writeMapBegin(TType.STRING, TType.STRING, len(value))
        for text in (part for pair in value.items() for part in pair):
            protocol.writeString(text)
    else:
        value.write(protocol)


def fields(protocol):
    """A struct without a class: its values by their numbers."""
    read = {}
    while True:
        _, kind, number = protocol.readFieldBegin()
        if kind == TType.STOP:
            return read
        read[number] = READERS[kind](protocol)


READERS = {TType.STRUCT: fields, TType.STRING: TBinaryProtocol.readString, TType.I32: TBinaryProtocol.readI32,
           TType.I64: TBinaryProtocol.readI64}


def count(results):
    """How many rows a row set has."""
    if results.columns is None:
        return len(results.rows)
    (first,) = [part for part in vars(results.columns[0]).values() if part is not None]
    return len(first.values)


def cells(results):
    """The rows of a row set in either form, nulls as None."""
    if results.columns is None:
        return [[content(each) for each in row.colVals] for row in results.rows]
    assert results.rows == []
    columns = [column_cells(column) for column in results.columns]
    return [list(row) for row in zip(*columns)]


def content(value):
    (inner,) = [part for part in vars(value).values() if part is not None]
    return inner.value


def column_cells(column):
    (inner,) = [part for part in vars(column).values() if part is not None]
    assert len(inner.nulls) == (len(inner.values) + 7) // 8
    bits = [inner.nulls[at // 8] >> (at % 8) & 1 for at in range(8 * len(inner.nulls))]
    assert not any(bits[len(inner.values):])
    return [None if null else value for value, null in zip(inner.values, bits)]


def plain_socket(address):
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=30)
    return sock


__all__ = ["ERROR", "SUCCESS", "Probe", "cells", "plain_socket", "receive", "sasl_login", "ttypes"]
