"""An HMI or a historian: polls PLCs, and as an HMI changes a setpoint now and then, until it is ended.

Usage: hmi.py PERIOD WRITE_EVERY UNIT=ADDRESS…     (WRITE_EVERY 0: never writes)
"""

import signal
import sys
import time

from pymodbus.client import ModbusTcpClient

ended = False


def end(*_):
    global ended
    ended = True


signal.signal(signal.SIGTERM, end)
period, write_every = float(sys.argv[1]), float(sys.argv[2])
plcs = []
for argument in sys.argv[3:]:
    unit, address = argument.split("=")
    client = ModbusTcpClient(address, port=502, timeout=2)
    client.connect()
    plcs.append((int(unit), client))

started = turn = time.monotonic()
writes = 0
while not ended:
    for unit, client in plcs:
        client.read_input_registers(0, count=8, device_id=unit)
        if write_every:
            client.read_holding_registers(0, count=12, device_id=unit)
            client.read_coils(0, count=16, device_id=unit)
    if write_every and turn - started >= (writes + 1) * write_every:
        unit, client = plcs[writes % len(plcs)]
        if writes % 3 == 2:  # a breaker
            client.write_coil(3, writes % 2 == 0, device_id=unit)
        else:  # a voltage setpoint
            client.write_register(10, 230 + writes % 5, device_id=unit)
        writes += 1
    turn += period
    time.sleep(max(0, turn - time.monotonic()))
for _, client in plcs:
    client.close()
