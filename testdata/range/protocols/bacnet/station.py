"""A controller of a building: values that are read and written. What it does not do it rejects."""

import asyncio
import os

from bacpypes3.argparse import SimpleArgumentParser
from bacpypes3.app import Application
from bacpypes3.local.analog import AnalogValueObject
from bacpypes3.local.binary import BinaryValueObject
from bacpypes3.local.cmd import Commandable


class Setpoint(Commandable, AnalogValueObject):
    """A value with priorities."""


async def main():
    args = SimpleArgumentParser().parse_args(["--name", "AHU-1", "--instance", "123", "--address", os.environ["STATION"] + "/24"])
    app = Application.from_args(args)
    app.add_object(Setpoint(objectIdentifier=("analog-value", 1), objectName="Supply air", presentValue=21.0, covIncrement=0.5))
    app.add_object(BinaryValueObject(objectIdentifier=("binary-value", 2), objectName="Fan", presentValue="inactive"))
    await asyncio.Future()


asyncio.run(main())
