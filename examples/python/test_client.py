"""What the clients promise, against a running cache server: `run` starts one and calls this.

The socket's path is in CACHE_SOCKET; CACHE_FILES is the directory of its files, unset if it makes none.
"""

import ast
import io
import os
import struct
import time
import tokenize
import unittest
from pathlib import Path

import client
import mmap_rpc_pb2 as rpc
from client import ClassicLane, SocketLane
from set_and_get import get, set_and_get

SOCKET = os.environ["CACHE_SOCKET"]
FILES = os.environ.get("CACHE_FILES")

# What the README says of client.py.
MOST_LINES = 60


class Client(unittest.TestCase):
    def connect(self, lane, **limits):
        connected = lane(SOCKET, **limits)
        connected.socket.settimeout(10)
        self.addCleanup(connected.socket.close)
        return connected

    def fails(self, text, function, *arguments):
        with self.assertRaises(RuntimeError) as failure:
            function(*arguments)
        self.assertIn(text, str(failure.exception))


@unittest.skipUnless(FILES, "this server makes no files")
class Served(Client):
    def wait(self, condition, what):
        end = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.001)

    def tearDown(self):
        self.doCleanups()
        self.wait(lambda: not os.listdir(FILES), "files go with their connections")

    def test_each_connection_has_a_file_of_its_own(self):
        lanes = [self.connect(lane) for lane in (ClassicLane, SocketLane) * 2]
        self.assertEqual(len(os.listdir(FILES)), len(lanes))
        for number, lane in enumerate(lanes):
            set_and_get(lane, f"file {number}", b"%d" % number)

    def test_what_one_lane_sets_the_other_one_gets(self):
        lanes = self.connect(ClassicLane), self.connect(SocketLane)
        for setter, getter in lanes, lanes[::-1]:
            value = os.urandom(5000)
            set_and_get(setter, "both", value)
            self.assertEqual(get(getter, "both").value, value)

    def test_slots_go_back_so_that_calls_never_end(self):
        lane = self.connect(SocketLane)
        slots = sum(count for _, _, count, _ in lane.classes(lane.peer))
        for number in range(2 * slots):
            set_and_get(lane, "small", b"%d" % number)
        largest = max(lane.classes(lane.peer))
        for _ in range(2 * largest[2]):
            set_and_get(lane, "large", os.urandom(4 << 20))

    def test_a_doorbell_tells_a_server_that_waits_for_slots(self):
        calls = 6
        lane = self.connect(SocketLane, max_in_flight=calls)
        value = os.urandom(4 << 20)
        set_and_get(lane, "waits", value)
        request = b"\x0a\x05waits"
        size, offset, _, _ = min(item for item in lane.classes(lane.own) if item[0])
        for call in range(calls):
            at = offset + call * size
            lane.file[lane.own + at : lane.own + at + len(request)] = request
            message = rpc.RPCRequest(
                fully_qualified_method_name="/cache.Cache/Get", call_id=call, offset=at, size=len(request)
            )
            body = rpc.Envelope(rpc_request=message).SerializeToString()
            lane.socket.sendall(b"%d:%b," % (len(body), body))
        # The server's word `want_space` is odd when it has no slots left and sleeps.
        control = lane.peer + struct.unpack_from("<Q", lane.file, lane.peer + 40)[0]
        slots = max(lane.classes(lane.peer))[2]
        answered = set()
        while len(answered) < calls:
            replies = [lane.receive("rpc_response") for _ in range(slots)]
            if len(answered) + slots < calls:
                # To read a frame wakes the server too: not before it sleeps again do the slots go back.
                time.sleep(0.05)
                self.wait(lambda: lane.file[control + 3 * 128] & 1, "the server waits for slots")
            for reply in replies:
                self.assertEqual((reply.status_code, reply.error), (0, ""))
                self.assertIn(value, lane.take(reply))
                answered.add(reply.call_id)
            lane.socket.sendall(b"0:,")

    def test_an_unknown_method_has_its_status(self):
        self.fails("method not found: /cache.Cache/No", self.connect(ClassicLane).call, "/cache.Cache/No", b"x")
        self.fails("status 12: ", self.connect(SocketLane).call, "/cache.Cache/No", b"x")

    def test_a_request_of_nonsense_has_its_status_and_the_next_call_is_served(self):
        for lane in self.connect(ClassicLane), self.connect(SocketLane):
            self.fails("request", lane.call, "/cache.Cache/Get", b"\xff" * 100)
            set_and_get(lane, "after", b"nonsense")

    def test_a_request_that_is_too_long_is_not_sent(self):
        long = bytes(9 << 20)
        for lane in self.connect(ClassicLane), self.connect(SocketLane):
            self.fails(f"{8 << 20} is the most that fits", lane.call, "/cache.Cache/Set", long)
            set_and_get(lane, "after", b"too much")

    def test_a_server_refuses_what_is_too_long_and_names_the_limit(self):
        lane = self.connect(ClassicLane)
        request = rpc.RPCRequest(fully_qualified_method_name="/cache.Cache/Set", size=(8 << 20) + 1)
        request.connection_id = lane.connection.connection_id
        self.assertIn("classic_file_size", lane.exchange("RPC", request).error)
        set_and_get(lane, "long", bytes(4 << 20))
        small = self.connect(SocketLane, max_message_size=1 << 20)
        self.fails("max_message_size", get, small, "long")
        set_and_get(small, "after", b"too much")

    def test_a_lie_ends_its_own_connection_alone(self):
        other = self.connect(SocketLane)
        set_and_get(other, "long", bytes(4 << 20))
        key = b"\x0a\x04long"
        for lie in "a size", "an offset", "a return":
            lane = self.connect(SocketLane)
            set_and_get(lane, lie, b"as long as it was honest")
            _, offset, _, _ = max(lane.classes(lane.own))
            _, _, count, first = max(lane.classes(lane.peer))
            if lie == "a size":
                request = rpc.RPCRequest(size=9 << 20, offset=offset)
            elif lie == "an offset":
                request = rpc.RPCRequest(size=len(key), offset=64)
            else:
                # Behind the last of the largest slots: found out when the server looks for returned ones.
                lane.file[lane.returns + (first + count) // 8] ^= 1 << (first + count) % 8
                request = rpc.RPCRequest(size=len(key), offset=offset)
                lane.file[lane.own + offset : lane.own + offset + len(key)] = key
            request.fully_qualified_method_name = "/cache.Cache/Get"
            with self.assertRaises((RuntimeError, OSError), msg=lie):
                for _ in range(count + 1):
                    lane.exchange("RPC", request)
            set_and_get(other, "lie", lie.encode())


@unittest.skipIf(FILES, "this server makes files")
class Refused(Client):
    def test_a_server_that_makes_no_files_says_which_option_would(self):
        self.fails("ServerBuilder::file_backing", SocketLane, SOCKET)

    def test_a_server_without_the_classic_lane_says_so(self):
        self.fails("ServerBuilder::classic", ClassicLane, SOCKET)


class Source(unittest.TestCase):
    def test_the_client_is_as_short_as_the_readme_says(self):
        text = Path(client.__file__).read_text(encoding="utf-8")
        layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
        code = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in layout and token.type != tokenize.ENDMARKER:
                code.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                code.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        self.assertLessEqual(len(code), MOST_LINES)


if __name__ == "__main__":
    unittest.main()
