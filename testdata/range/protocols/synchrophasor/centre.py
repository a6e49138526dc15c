"""A phasor data concentrator: asks what there is, listens, and turns the data off."""

import collections
import collections.abc
import os
import time

collections.Sequence = collections.abc.Sequence  # pypmu is older than Python 3.10

from synchrophasor.frame import CommandFrame
from synchrophasor.pdc import Pdc

pdc = Pdc(pdc_id=7734, pmu_ip=os.environ["STATION"], pmu_port=4712)
pdc.run()
print("header", pdc.get_header())
print("configuration", pdc.get_config())
print("configuration 1", pdc.get_config("cfg1"))
pdc.start()
got = sum(pdc.get() is not None for _ in range(30))
print("data", got)
pdc.stop()
time.sleep(0.5)
pdc.pmu_socket.sendall(CommandFrame(7734, "extended", b"\xff\x00").convert2bytes())
time.sleep(0.5)
pdc.quit()
os._exit(0)
