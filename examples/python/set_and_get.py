"""Set and Get of the cache example, over both lanes: set_and_get.py SOCKET"""

import os
import sys

import cache_pb2 as cache
from client import ClassicLane, SocketLane


def get(lane, key):
    """What the server answers to the Get of a key."""
    reply = lane.call("/cache.Cache/Get", cache.GetRequest(key=key).SerializeToString())
    return cache.GetResponse.FromString(reply)


def set_and_get(lane, key, value):
    """Sets a value, gets it again, and compares the two."""
    request = cache.SetRequest(key=key, value=value)
    lane.call("/cache.Cache/Set", request.SerializeToString())
    reply = get(lane, key)
    if not reply.found or reply.value != value:
        raise RuntimeError(f"{key}: the {len(reply.value)} bytes that came back are not those that were set")


def main(path):
    for lane in ClassicLane(path), SocketLane(path):
        name = type(lane).__name__
        for size in 0, 64, 4096, 1 << 20, 4 << 20:
            set_and_get(lane, f"{name} {size}", os.urandom(size))
            print(f"{name}: {size} bytes set, got and compared")
        print(f"{name}: a key that nobody has set: found is {get(lane, 'nobody').found}")
        try:
            lane.call("/cache.Cache/Checksum", b"nobody")
        except RuntimeError as failure:
            print(f"{name}: {failure}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except (OSError, RuntimeError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
