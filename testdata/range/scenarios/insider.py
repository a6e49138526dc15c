"""Nobody comes in: an employee uses the administrator's password.

    ws1 (office) ──ssh──▶ jump (control centre) ──ssh──▶ ews ──Modbus──▶ plc2 (substation)

The administrator goes the same way to the same hosts, and the employee browses the web meanwhile.
"""

import time

from lab import attack

DESCRIPTION = ("An employee logs in from an office workstation to the jump host and the engineering workstation with the "
               "administrator's password, and writes to a PLC, while the administrator works on the same hosts.")
PACE = 2
TAPS = attack.taps("border", "office", "control", "substation")

WS1, JUMP, EWS, PLC = "10.30.0.21", "10.40.0.10", "10.40.0.40", "10.50.0.12"


def play(lab, people, truth):
    time.sleep(15)
    quiet = dict(must_detect=False, protocol="ssh", ports=[22], techniques=attack.LATERAL)
    with truth.stage("first", "Login from the workstation to the jump host", source=[WS1], destination=[JUMP],
                     taps=["office", "control"], expect="SSH between two hosts that never spoke",
                     evidence=f"ip.src == {WS1} && ip.dst == {JUMP} && ssh", **quiet), \
         truth.stage("second", "Login from the jump host to the engineering workstation", source=[JUMP], destination=[EWS],
                     taps=["control"], expect="as the administrator does it",
                     evidence=f"ip.src == {JUMP} && ip.dst == {EWS} && ssh", **quiet), \
         truth.stage("writes", "Writes from the engineering workstation", source=[EWS], destination=[PLC], protocol="modbus",
                     ports=[502], taps=["substation", "control"], techniques=attack.WRITES, expect="writes from a stranger",
                     evidence=f"ip.src == {EWS} && ip.dst == {PLC} && {attack.WRITING}"):
        session = attack.typing(lab, "ws1", [
            [2, "cd /run/tocsin-range/programs; id; ls"], [2, f"./hop {EWS} netadmin Kestrel-19-ladder"],
            [3, "cd /run/tocsin-range/programs; ip addr"], [2, f"./meddle identify {PLC}"], [3, f"./meddle write {PLC}"],
            [2, "exit"], [1, "exit"]], attack.login(lab, "netadmin", "Kestrel-19-ladder", JUMP))
        attack.wait(session, 90)
    truth.hop(WS1, JUMP, 22, "ssh", "first", "office")
    truth.hop(JUMP, EWS, 22, "ssh", "second", "control")
    truth.hop(EWS, PLC, 502, "modbus", "writes", "substation")
    time.sleep(4)


def write(folder):
    pass
