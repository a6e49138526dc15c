"""A phasor measurement unit: pypmu with the example of the standard's annex D."""

import collections
import collections.abc
import os
import time

collections.Sequence = collections.abc.Sequence  # pypmu is older than Python 3.10

from synchrophasor.frame import ConfigFrame2, DataFrame, HeaderFrame
from synchrophasor.pmu import Pmu

config = ConfigFrame2(
    7734, 1000000, 1, "Station A", 7734, (False, False, True, False), 4, 3, 1,
    ["VA", "VB", "VC", "I1", "ANALOG1", "ANALOG2", "ANALOG3"] + [f"BREAKER {i} STATUS" for i in range(1, 17)],
    [(915527, "v"), (915527, "v"), (915527, "v"), (45776, "i")],
    [(1, "pow"), (1, "rms"), (1, "peak")], [(0x0000, 0xFFFF)], 50, 22, 10,
)
pmu = Pmu(pmu_id=7734, ip=os.environ["STATION"], port=4712, data_rate=10)
pmu.set_configuration(config)
pmu.set_header(HeaderFrame(7734, "Feeder 4, unit 7734"))
pmu.run()
good = DataFrame(7734, ("ok", True, "timestamp", False, False, False, 0, "<10", 0),
                 [(14635, 0), (-7318, -12676), (-7318, 12675), (1092, 0)], 2500, 0, [100, 1000, 10000], [0x3C12], config)
bad = DataFrame(7734, ("ok", False, "timestamp", True, False, False, 0, ">1000", 1),
                [(14600, 0), (-7300, -12600), (-7300, 12600), (1000, 0)], -1500, 10, [99, 999, 9999], [0x3C10], config)
n = 0
while True:
    time.sleep(0.1)
    if pmu.clients:
        n += 1
        pmu.send(bad if n in (20, 21) else good)
