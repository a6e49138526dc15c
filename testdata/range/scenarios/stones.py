"""Three stepping stones, typed by hand, with a remote desktop as the last: every key goes through all of them.

    attacker ──ssh──▶ web (DMZ) ──ssh──▶ jump (control centre) ──remote desktop──▶ ews ──Modbus──▶ plc1 (substation)

The administrator logs in to the same hosts meanwhile.
"""

import time

from lab import attack, servers

DESCRIPTION = ("An intruder with stolen passwords goes by SSH to the web server, to the jump host, by a remote desktop to the "
               "engineering workstation, and writes to a PLC by Modbus, while the administrator works on the same hosts.")
PACE = 2
TAPS = attack.taps("border", "dmz", "control", "substation")

ATTACKER, WEB, JUMP, EWS, PLC = "198.51.100.66", "10.20.0.10", "10.40.0.10", "10.40.0.40", "10.50.0.11"


def prepare(lab):
    desktop(lab)


def desktop(lab):
    cert, key = servers.certificate(lab, "ews.corp.utility.example")
    lab.start("ews", ["/usr/bin/python3", f"{lab.programs}/desktop.py", "serve", cert, key])
    lab.wait_for_port("ews", 3389)


def play(lab, people, truth):
    time.sleep(15)
    stage = dict(must_detect=False)
    with truth.stage("first", "Login to the web server", source=[ATTACKER], destination=[WEB], protocol="ssh", ports=[22],
                     taps=["border", "dmz"], techniques=attack.LOGIN, expect="one login with a known password",
                     evidence=f"ip.src == {ATTACKER} && ip.dst == {WEB} && ssh", **stage), \
         truth.stage("second", "Login from the web server to the jump host", source=[WEB], destination=[JUMP],
                     protocol="ssh", ports=[22], taps=["dmz", "control"], techniques=attack.LATERAL,
                     expect="SSH from the DMZ into the control centre", evidence=f"ip.src == {WEB} && ip.dst == {JUMP} && ssh",
                     **stage), \
         truth.stage("third", "Remote desktop from the jump host", source=[JUMP], destination=[EWS], protocol="tls",
                     ports=[3389], taps=["control"], techniques=[attack.enterprise("lateral-movement", "T1021.001")],
                     expect="a remote desktop that nobody used before",
                     evidence=f"ip.src == {JUMP} && ip.dst == {EWS} && tcp.dstport == 3389", **stage), \
         truth.stage("writes", "Writes from the engineering workstation", source=[EWS], destination=[PLC], protocol="modbus",
                     ports=[502], taps=["substation", "control"], techniques=attack.WRITES, expect="writes from a stranger",
                     evidence=f"ip.src == {EWS} && ip.dst == {PLC} && {attack.WRITING}"):
        session = attack.typing(lab, "attacker", [
            [2, "cd /run/tocsin-range/programs; id; ls"], [2, f"./hop {JUMP} netadmin Kestrel-19-ladder"],
            [3, "cd /run/tocsin-range/programs; ip addr"], [2, f"python3 desktop.py view {EWS}"],
            [3, "cd /run/tocsin-range/programs; ip addr; ls"], [2, f"./meddle identify {PLC}"],
            [3, f"./meddle write {PLC}"], [3, "exit"], [1, "exit"], [1, "exit"]],
            attack.login(lab, "webadmin", "Winter2026!", WEB))
        attack.wait(session, 150)
    truth.hop(ATTACKER, WEB, 22, "ssh", "first", "border")
    truth.hop(WEB, JUMP, 22, "ssh", "second", "dmz")
    truth.hop(JUMP, EWS, 3389, "tls", "third", "control")
    truth.hop(EWS, PLC, 502, "modbus", "writes", "substation")
    time.sleep(5)


def write(folder):
    pass
