"""Clients of an mmap-rpc server: one for the classic lane, and one for the socket lane with memory in a file.

Each makes one call at a time. Messages are bytes here: what is in them is between a service and its users.
"""

import mmap
import socket
from struct import iter_unpack, pack, unpack_from

from google.protobuf.any import pack as pack_any

import mmap_rpc_pb2 as rpc


class ClassicLane:
    """Short frames go over a socket; request and reply lie at the beginning of a file, one after the other."""

    def __init__(self, path, **offer):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.connection = self.exchange("Connect", rpc.ConnectRequest(**offer))
        if self.connection.error:
            raise RuntimeError(f"the server refuses: {self.connection.error}")
        # This side may map the file, because it trusts: who truncates a mapped file ends those who read it.
        with open(self.connection.mmap_filename, "r+b") as file:
            self.file = mmap.mmap(file.fileno(), 0)

    def exchange(self, kind, request):
        """Sends a request of the protocol, "Connect" or "RPC", and returns the answer."""
        body = pack_any(request).SerializeToString()
        self.socket.sendall(pack("<I", len(body)) + b":" + body + b",")
        size = int.from_bytes(self.read(5)[:4], "little")
        return getattr(rpc, kind + "Response").FromString(self.read(size + 1)[:size])

    def read(self, size):
        if len(data := self.socket.recv(size, socket.MSG_WAITALL)) < size:
            raise RuntimeError("the server has closed the connection; its log says why")
        return data

    def send(self, method, message, region=0, offset=0):
        """Puts a message into the file, calls a method with it, and returns what says where the reply lies."""
        if len(message) > (room := self.connection.limits.max_message_size or len(self.file)):
            raise RuntimeError(f"a request of {len(message)} bytes, where {room} is the most that fits")
        self.file[region + offset : region + offset + len(message)] = message
        request = rpc.RPCRequest(fully_qualified_method_name=method, size=len(message), offset=offset)
        request.connection_id = self.connection.connection_id
        reply = self.exchange("RPC", request)
        if reply.error or reply.status_code:
            raise RuntimeError(f"{method}: status {reply.status_code or '-'}: {reply.error}")
        return reply

    def call(self, method, message):
        """Calls a method, and returns the message that answers."""
        return self.file[: self.send(method, message).size]


class SocketLane(ClassicLane):
    """The same with other frames, and a file of two regions: slots for our requests, slots for the replies."""

    def __init__(self, path, **limits):
        limits = {"max_message_size": 8 << 20, "max_region_bytes": 64 << 20, "max_in_flight": 1} | limits
        # Features: 1 is calls over the socket, 2 is memory in a file.
        super().__init__(path, min_version=1, max_version=1, required_features=1 | 2, limits=limits)
        self.own, _, self.peer, _ = unpack_from("<4Q", self.file, 16)
        self.returns = self.own + unpack_from("<Q", self.file, self.own + 48)[0]

    def exchange(self, kind, request):
        body = rpc.Envelope(**{kind.lower() + "_request": request}).SerializeToString()
        self.socket.sendall(b"%d:%b," % (len(body), body))
        return self.receive(kind.lower() + "_response")

    def receive(self, kind):
        """The next answer of a kind. An empty frame may come before it, or word that the server will stop."""
        size = int(b"".join(iter(lambda: self.read(1), b":")))
        envelope = rpc.Envelope.FromString(self.read(size + 1)[:size])
        return getattr(envelope, kind) if envelope.HasField(kind) else self.receive(kind)

    def classes(self, region):
        """The sizes of a region's slots: each with its first slot's offset, their number, the first handle."""
        return iter_unpack("<QQII8x", self.file[region + 80 : region + 592])

    def call(self, method, message):
        # The request goes to the first of the largest slots. The server copies it before it answers.
        return self.take(self.send(method, message, self.own, max(self.classes(self.own))[1]))

    def take(self, reply):
        """Copies a reply, and gives its slot back: flips the bit of the slot among this side's return words."""
        message = self.file[self.peer + reply.offset : self.peer + reply.offset + reply.size]
        for size, start, count, first in self.classes(self.peer):
            if reply.size and start <= reply.offset < start + count * size:
                handle = first + (reply.offset - start) // size
                self.file[self.returns + handle // 8] ^= 1 << handle % 8
        return message
