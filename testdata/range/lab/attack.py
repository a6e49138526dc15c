"""What several scenarios do: techniques by name, and a person typing through a chain of logins."""

import json
import time

from . import network

CORE_TAPS = {
    "border": ("border", "border", "to-core", "border.pcap.zst"),
    "outside": ("outside", "border", "to-isp", "outside.pcap.zst"),
    "dmz": ("dmz", "core", "dmz", "dmz.pcap.zst"),
    "office": ("office", "core", "office", "office.pcap.zst"),
    "control": ("control", "core", "control", "control.pcap.zst"),
    "substation": ("substation", "ot", "substation", "substation.pcap.zst"),
}


def taps(*names):
    return [CORE_TAPS[name] for name in names]


def enterprise(tactic, id):
    return {"id": id, "tactic": tactic, "domain": "enterprise"}


def ics(tactic, id):
    return {"id": id, "tactic": tactic, "domain": "ics"}


LOGIN = [enterprise("initial-access", "T1078"), enterprise("initial-access", "T1133")]
LATERAL = [enterprise("lateral-movement", "T1021.004"), enterprise("lateral-movement", "T1078")]
WRITES = [ics("impair-process-control", "T0855"), ics("impair-process-control", "T0836")]
WRITING = "modbus.func_code in {5, 6, 15, 16, 22}"


def typing(lab, host, script, command):
    """Starts a program on a host, into which a person types: (seconds of thought, line)…"""
    return lab.start(host, ["/usr/bin/python3", f"{lab.programs}/typist.py", json.dumps(script), f"{lab.name} {host}",
                            *command])


def login(lab, user, password, address, *options):
    return ["sshpass", "-p", password, "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", *options, "-tt",
            f"{user}@{address}"]


def wait(process, seconds):
    """Waits for a program to end, and for what it started to go quiet."""
    process.wait(timeout=seconds)
    time.sleep(2)


def addresses(name):
    return network.addresses(name)
