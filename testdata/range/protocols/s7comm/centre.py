"""An engineering station: what it asks of a controller, in order. The test of the capture lists the same."""

import os
import time
from datetime import datetime

from snap7.client import Client
from snap7.type import Area, Block, WordLen

plc = Client()
plc.connect(os.environ["STATION"], 0, 2, 102)


def say(what, do):
    try:
        print(f"{what}: {do()}", flush=True)
    except Exception as e:  # what the controller refuses is wanted too
        print(f"{what}: {e!r}", flush=True)
    time.sleep(0.2)


say("who", plc.get_cpu_info)
say("order code", plc.get_order_code)
say("state", plc.get_cpu_state)
say("blocks", plc.list_blocks)
say("blocks of a type", lambda: plc.list_blocks_of_type(Block.DB, 16))
say("block", lambda: plc.get_block_info(Block.DB, 1))
say("read db", lambda: plc.db_read(1, 0, 8))
say("read inputs", lambda: plc.read_area(Area.PE, 0, 0, 2))
say("read several", lambda: plc.read_multi_vars([
    {"area": Area.DB, "db_number": 1, "start": 0, "size": 4},
    {"area": Area.MK, "db_number": 0, "start": 0, "size": 2},
]))
say("read nothing", lambda: plc.db_read(99, 0, 4))
say("write word", lambda: plc.db_write(1, 4, bytearray((320).to_bytes(2, "big"))))
say("write bit", lambda: plc.write_area(Area.PA, 0, 3, bytearray([1]), WordLen.Bit))
say("write flags", lambda: plc.mb_write(0, 2, bytearray([1, 2])))
say("write nowhere", lambda: plc.db_write(99, 0, bytearray([1])))
say("clock", plc.get_plc_datetime)
say("set clock", lambda: plc.set_plc_datetime(datetime(2026, 1, 2, 3, 4, 5)))
say("password", lambda: plc.set_session_password("geheim42"))
say("no password", plc.clear_session_password)
say("upload", lambda: plc.upload(1))
say("download", lambda: plc.download(bytearray(b"\x70\x70" + bytes(62)), 1))
say("delete", lambda: plc.delete(Block.DB, 1))
say("compress", lambda: plc.compress(1000))
say("copy", lambda: plc.copy_ram_to_rom(1000))
say("stop", plc.plc_stop)
say("cold start", plc.plc_cold_start)
say("hot start", plc.plc_hot_start)
plc.disconnect()
