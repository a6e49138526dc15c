"""A substation: lib60870 on port 2404, and j60870, which obeys everything, on port 2405."""

import datetime
import os
import signal
import subprocess
import sys
import time

import c104

SUBSTATION = 47


def obey(point: c104.Point, previous_info: c104.Information, message: c104.IncomingMessage) -> c104.ResponseState:
    return c104.ResponseState.SUCCESS


def refuse(point: c104.Point, previous_info: c104.Information, message: c104.IncomingMessage) -> c104.ResponseState:
    return c104.ResponseState.FAILURE


def clock(server: c104.Server, ip: str, date_time: datetime.datetime) -> c104.ResponseState:
    return c104.ResponseState.SUCCESS


signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
server = c104.Server(ip=os.environ["STATION"], port=2404, tick_rate_ms=100)
server.on_clock_sync(callable=clock)
station = server.add_station(common_address=SUBSTATION)
T = c104.Type
breaker = station.add_point(100, T.M_DP_TB_1)
breaker.value = c104.Double.ON
for address in (101, 102, 103):
    station.add_point(address, T.M_SP_NA_1).value = address % 2 == 1
voltage = station.add_point(200, T.M_ME_NC_1)
voltage.value = 110.5
current = station.add_point(201, T.M_ME_NB_1)
current.value = c104.Int16(412)
frequency = station.add_point(202, T.M_ME_TF_1)
frequency.value = 50.01
angle = station.add_point(203, T.M_ME_NA_1)
angle.value = c104.NormalizedFloat(-0.25)
tap = station.add_point(210, T.M_ST_NA_1)
tap.value = c104.Int7(-3)
energy = station.add_point(220, T.M_IT_NA_1)
relay = station.add_point(230, T.M_BO_NA_1)
relay.value = c104.Byte32(b"\x00\x00\x00\xa5")
for address, kind, mode, answer in (
    (300, T.C_SC_NA_1, c104.CommandMode.DIRECT, obey),
    (301, T.C_DC_NA_1, c104.CommandMode.SELECT_AND_EXECUTE, obey),
    (302, T.C_RC_NA_1, c104.CommandMode.DIRECT, obey),
    (303, T.C_SE_NC_1, c104.CommandMode.DIRECT, obey),
    (304, T.C_SE_NB_1, c104.CommandMode.SELECT_AND_EXECUTE, obey),
    (305, T.C_SE_NA_1, c104.CommandMode.DIRECT, obey),
    (306, T.C_BO_NA_1, c104.CommandMode.DIRECT, obey),
    (307, T.C_SC_TA_1, c104.CommandMode.DIRECT, obey),
    (308, T.C_SC_NA_1, c104.CommandMode.DIRECT, refuse),
):
    station.add_point(address, kind, command_mode=mode).on_receive(callable=answer)
server.start()
engineered = subprocess.Popen(["java", "Engineering.java", "serve", os.environ["STATION"]])
while True:
    time.sleep(4)
    if server.has_active_connections:
        voltage.value = 110.25
        voltage.transmit(cause=c104.Cot.SPONTANEOUS)
        frequency.info = c104.ShortInfo(actual=49.98, quality=c104.Quality.Substituted | c104.Quality.NonTopical, recorded_at=datetime.datetime.now(datetime.timezone.utc))
        frequency.transmit(cause=c104.Cot.SPONTANEOUS)
        breaker.info = c104.DoubleInfo(state=c104.Double.INTERMEDIATE, quality=c104.Quality.Invalid, recorded_at=datetime.datetime.now(datetime.timezone.utc))
        breaker.transmit(cause=c104.Cot.SPONTANEOUS)
