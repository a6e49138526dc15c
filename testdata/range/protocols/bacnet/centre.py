"""A display and an engineer's tool: what they ask of a controller, in order. The test of the capture lists the same."""

import asyncio
import os

from bacpypes3.apdu import DeviceCommunicationControlRequest, ReinitializeDeviceRequest, TimeSynchronizationRequest
from bacpypes3.app import Application
from bacpypes3.argparse import SimpleArgumentParser
from bacpypes3.basetypes import DateTime
from bacpypes3.pdu import Address
from bacpypes3.primitivedata import CharacterString, Date, ObjectIdentifier, Real, Time

STATION = Address(os.environ["STATION"])
VALUE = ObjectIdentifier("analog-value,1")


async def main():
    args = SimpleArgumentParser().parse_args(["--name", "display", "--instance", "7", "--address", os.environ["CENTRE"] + "/24"])
    app = Application.from_args(args)
    await asyncio.sleep(0.5)

    async def say(what, do):
        try:
            print(f"{what}: {await asyncio.wait_for(do, 5)}", flush=True)
        except BaseException as e:  # what the controller refuses is wanted too
            print(f"{what}: {e!r}", flush=True)
        await asyncio.sleep(0.2)

    await say("who is", app.who_is(1, 4000, STATION))
    await say("objects", app.read_property(STATION, "device,123", "object-list"))
    await say("read", app.read_property(STATION, VALUE, "present-value"))
    await say("read several", app.read_property_multiple(STATION, [VALUE, ["object-name", "present-value", "units"], ObjectIdentifier("binary-value,2"), ["present-value"]]))
    await say("write", app.write_property(STATION, VALUE, "present-value", Real(24.5), priority=8))
    await say("read", app.read_property(STATION, VALUE, "present-value"))
    await say("write a name", app.write_property(STATION, VALUE, "object-type", Real(1.0)))
    await say("read nothing", app.read_property(STATION, "analog-value,99", "present-value"))
    await say("silence", app.request(DeviceCommunicationControlRequest(timeDuration=5, enableDisable="disableInitiation", password=CharacterString("geheim42"), destination=STATION)))
    await say("restart", app.request(ReinitializeDeviceRequest(reinitializedStateOfDevice="coldstart", password=CharacterString("geheim42"), destination=STATION)))
    await say("clock", app.request(TimeSynchronizationRequest(time=DateTime(date=Date((126, 1, 2, 5)), time=Time((3, 4, 5, 0))), destination=STATION)))
    app.close()


asyncio.run(main())
