"""A controller with tags, which answers over TCP and UDP."""

import sys

from cpppo.server.enip.main import main

sys.exit(main(["--address", "0.0.0.0:44818", "--udp", "Level=REAL[4]", "Speed=INT[10]", "Valve=SINT", "Limit@4/1/3=DINT[2]"]))
