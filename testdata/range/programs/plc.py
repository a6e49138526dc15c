"""A PLC: a Modbus/TCP server on every address of its namespace. Usage: plc.py NAME REGISTERS"""

import asyncio
import sys

from pymodbus import ModbusDeviceIdentification
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer


async def main(name, registers):
    def block(first):
        return ModbusSequentialDataBlock(1, [(first + 7 * i) % 4096 for i in range(registers)])

    device = ModbusDeviceContext(
        di=ModbusSequentialDataBlock(1, [i % 3 == 0 for i in range(256)]),
        co=ModbusSequentialDataBlock(1, [i % 2 == 0 for i in range(256)]),
        hr=block(230),
        ir=block(50),
    )
    identity = ModbusDeviceIdentification(info_name={
        "VendorName": "Example Grid Controls",
        "ProductCode": "EGC-400",
        "VendorUrl": "https://egc.example/",
        "ProductName": "Feeder controller",
        "ModelName": name,
        "MajorMinorRevision": "2.7.1",
    })
    # An empty host is every address of both families.
    server = ModbusTcpServer(ModbusServerContext(devices=device, single=True), identity=identity, address=("", 502))
    await server.serve_forever()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
