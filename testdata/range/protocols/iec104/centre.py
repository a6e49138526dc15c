"""A control centre: what it asks of a substation, in order. The test of the capture lists the same."""

import os
import subprocess
import time

import c104

SUBSTATION = 47
T = c104.Type

client = c104.Client(tick_rate_ms=100, command_timeout_ms=5000)
link = client.add_connection(ip=os.environ["STATION"], port=2404, init=c104.Init.NONE)
station = link.add_station(common_address=SUBSTATION)
command = {address: station.add_point(address, kind, command_mode=mode) for address, kind, mode in (
    (300, T.C_SC_NA_1, c104.CommandMode.DIRECT),
    (301, T.C_DC_NA_1, c104.CommandMode.SELECT_AND_EXECUTE),
    (302, T.C_RC_NA_1, c104.CommandMode.DIRECT),
    (303, T.C_SE_NC_1, c104.CommandMode.DIRECT),
    (304, T.C_SE_NB_1, c104.CommandMode.SELECT_AND_EXECUTE),
    (305, T.C_SE_NA_1, c104.CommandMode.DIRECT),
    (306, T.C_BO_NA_1, c104.CommandMode.DIRECT),
    (307, T.C_SC_TA_1, c104.CommandMode.DIRECT),
    (308, T.C_SC_NA_1, c104.CommandMode.DIRECT),
    (309, T.C_SC_NA_1, c104.CommandMode.DIRECT),
)}
reading = station.add_point(200, T.M_ME_NC_1)
client.start()
while link.state != c104.ConnectionState.OPEN or link.is_muted:
    if link.state == c104.ConnectionState.OPEN_MUTED:
        link.unmute()
    time.sleep(0.1)
time.sleep(1)


def say(what, ok):
    print(f"{what}: {ok}", flush=True)
    time.sleep(0.3)


def order(address, value):
    point = command[address]
    point.value = value
    say(f"{point.type} {address} {value}", point.transmit(cause=c104.Cot.ACTIVATION))


say("interrogation", link.interrogation(common_address=SUBSTATION))
say("counters", link.counter_interrogation(common_address=SUBSTATION))
say("read", reading.read())
say("test", link.test(common_address=SUBSTATION, with_time=True))
say("clock", link.clock_sync(common_address=SUBSTATION))
time.sleep(4)  # for what the station reports by itself
order(300, True)
order(300, False)
order(301, c104.Double.OFF)
order(302, c104.Step.HIGHER)
order(303, 231.5)
order(303, 400.0)
order(304, c104.Int16(-120))
order(305, c104.NormalizedFloat(0.5))
order(306, c104.Byte32(b"\x01\x00\x00\xf0"))
order(307, True)
order(308, True)  # which the station refuses
order(309, True)  # which it has not
say("nobody", link.interrogation(common_address=99))
say("freeze", link.counter_interrogation(common_address=SUBSTATION, freeze=c104.Frz.FREEZE_WITH_RESET))
client.stop()
subprocess.run(["java", "Engineering.java", "ask", os.environ["STATION"]], check=True)
