"""A flood of requests for connections whose sources are made up, at a web server that people use.

    attacker, as anybody ──SYN──▶ web (DMZ)

The sources are neighbours of customers, networks that nobody has, and the operator's own. There is no path to find.
"""

import time

from lab import attack

DESCRIPTION = ("A flood of SYN packets with random sources at the web server: neighbours of real customers, networks reserved "
               "for benchmarks, and the operator's own from outside. Customers go on using the site.")
PACE = 2
TAPS = attack.taps("border", "dmz")

WEB = "10.20.0.10"


def play(lab, people, truth):
    time.sleep(15)
    with truth.stage("flood", "SYN flood with sources that are made up", source=["198.51.100.128/25", "203.0.113.128/25"],
                     destination=[WEB], protocol="tcp", ports=[443], taps=["border", "dmz"],
                     techniques=[attack.enterprise("impact", "T1498.001")],
                     evidence=f"ip.dst == {WEB} && ip.ttl > 200 && tcp.flags.syn == 1", must_detect=False,
                     expect="connections by the hundred that nobody completes"):
        lab.must("attacker", ["/usr/bin/python3", f"{lab.programs}/flood.py", WEB, "443", "1500", "80", "recorded"])
    truth.spoofed = True
    time.sleep(10)


def write(folder):
    pass
