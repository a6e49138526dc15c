"""A controller: data blocks, flags, inputs and outputs, with blocks to load and a clock."""

import time

from snap7.server import Server
from snap7.type import SrvArea

server = Server(log=False)
db = bytearray(64)
db[0:4] = bytes.fromhex("43661f1f")  # 230.12 as REAL
db[4:6] = (300).to_bytes(2, "big")
server.register_area(SrvArea.DB, 1, db)
server.register_area(SrvArea.MK, 0, bytearray(64))
server.register_area(SrvArea.PE, 0, bytearray([0b101] + [0] * 15))
server.register_area(SrvArea.PA, 0, bytearray(16))
server.start(tcp_port=102)
while True:
    time.sleep(1)
