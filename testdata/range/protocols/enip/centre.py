"""An operator's and an engineer's station: what they ask of a controller, in order. The test of the capture lists the same."""

import os
import socket
import time

from cpppo.server.enip import client
from cpppo.server.enip.get_attribute import attribute_operations
from pycomm3 import CIPDriver, Services

STATION = os.environ["STATION"]


def say(what, do):
    try:
        print(f"{what}: {do()}", flush=True)
    except Exception as e:  # what the controller refuses is wanted too
        print(f"{what}: {e!r}", flush=True)
    time.sleep(0.2)


# Who is there? A datagram, as all tools send it.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(2)
    s.sendto(bytes.fromhex("63000000") + bytes(20), (STATION, 44818))
    say("list identity", lambda: s.recv(1500))


def ask(tags, **more):
    with client.connector(host=STATION, timeout=5) as line:
        operations = attribute_operations(tags) if "@" in tags[0] else client.parse_operations(tags)
        return [result[-1] for result in line.operate(operations=operations, timeout=5, **more)]


def request(**what):
    """Each over a connection of its own: the server hangs up where it does not know a service."""
    with CIPDriver(STATION) as plc:
        return plc.generic_message(**{"connected": False, "instance": 1, "name": "", **what})


say("read", lambda: ask(["Level", "Speed[0-3]"]))
say("write", lambda: ask(["Level=(REAL)231.5", "Level", "Level=(REAL)12.25", "Speed[1-2]=(INT)320,-7"]))
say("several in one", lambda: ask(["Valve=(SINT)1", "Valve", "Speed[0]"], multiple=500))
say("a tag that is not there", lambda: ask(["Nowhere"]))
say("attribute", lambda: ask(["@4/1/3"]))
say("identity", lambda: request(service=Services.get_attributes_all, class_code=1))
say("forward open", lambda: request(service=Services.get_attribute_single, class_code=1, attribute=7, connected=True))
say("reset", lambda: request(service=0x05, class_code=1, request_data=b"\x00"))
say("stop", lambda: request(service=0x07, class_code=0x8E))
say("start", lambda: request(service=0x06, class_code=0x8E))
say("create", lambda: request(service=0x08, class_code=0x68, instance=0, request_data=b"\x01\x00"))
say("firmware", lambda: request(service=0x4B, class_code=0xA1, request_data=b"\x01\x00"))
say("list tags", lambda: request(service=0x55, class_code=0x6B, instance=0, request_data=b"\x01\x00\x01\x00"))
say("pccc read", lambda: request(service=0x4B, class_code=0x67, request_data=bytes.fromhex("07f50101020304" "0f000100" "a2" "02" "07" "89" "0000")))
say("pccc write", lambda: request(service=0x4B, class_code=0x67, request_data=bytes.fromhex("07f50101020304" "0f000200" "aa" "02" "07" "89" "0300" "2a00")))
say("pccc mode", lambda: request(service=0x4B, class_code=0x67, request_data=bytes.fromhex("07f50101020304" "0f000300" "80" "01")))
