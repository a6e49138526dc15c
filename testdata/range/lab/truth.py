"""What is true of a recording: who, what, when, and where it can be seen."""

import csv
import json
from contextlib import contextmanager
from datetime import datetime, timezone

from . import network


def stamp(seconds):
    """RFC 3339 with microseconds, by the clock that also stamps the captures."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Truth:
    def __init__(self, name, description, tapped, clock):
        self.name, self.description, self.tapped, self.clock = name, description, tapped, clock
        self.stages, self.path, self.notes, self.translations = [], [], [], []
        self.spoofed = False  # the sources are made up: there is no path to find
        self.started = clock()

    @contextmanager
    def stage(self, id, title, *, source, destination, protocol, ports, techniques, taps, evidence, expect, must_detect=True,
              transport="tcp"):
        """Runs a stage and keeps its times. Evidence is a tshark display filter that only the stage's packets match."""
        record = {
            "id": id, "title": title, "start": "", "end": "", "source": source, "destination": destination,
            "transport": transport, "ports": ports, "protocol": protocol, "techniques": techniques, "taps": taps,
            "evidence": evidence, "expect": {"detection": expect, "must_detect": must_detect},
        }
        self.stages.append(record)
        began = self.clock()
        record["start"] = stamp(began)
        print(f"  {began - self.started:6.1f} s  {id}: {title}", flush=True)
        yield record
        record["end"] = stamp(self.clock())

    def hop(self, source, destination, port, protocol, stage, tap, opened_by="from", seen=None):
        """One step of the attack. Opened_by "to": the victim opened the connection that controls it. Seen is what the tap
        shows of it where addresses are translated: from, to, port."""
        self.path.append({"from": source, "to": destination, "port": port, "protocol": protocol, "stage": stage, "tap": tap,
                          "opened_by": opened_by} | ({"seen": list(seen)} if seen else {}))

    def translated(self, router, outside, inside, what):
        """A router changes addresses: (address, port) as each side has it; port 0 stands for any."""
        self.translations.append({"router": router, "what": what, "outside": outside, "inside": inside})

    def write(self, folder, ended):
        document = {
            "scenario": self.name,
            "description": self.description,
            "start": stamp(self.started),
            "end": stamp(ended),
            "network": {
                "zones": [{"name": z.name, "networks": list(z.networks), "trust": z.trust} for z in network.ZONES],
                "hosts": [asset(h) for h in network.HOSTS],
            },
            "taps": [{"name": name, "file": file, "router": router, "interface": interface}
                     for name, router, interface, file in self.tapped],
            "stages": self.stages,
            "path": self.path,
            "translations": self.translations,
            "spoofed": self.spoofed,
            "notes": self.notes,
        }
        (folder / "truth.json").write_text(json.dumps(document, indent=2) + "\n")
        (folder / "assets.yml").write_text(assets())


def asset(h):
    entry = {"name": h.name, "addresses": network.addresses(h.name), "zone": h.zone, "role": h.role}
    if h.level:
        entry |= {"sector": h.sector, "level": h.level, "owner": h.owner}
    return entry


def assets():
    """The asset file that the operator keeps: only hosts that are the operator's."""
    lines = ["# Zones and assets of the recorded operator. Level is the protection level, 1 (least) to 5.", "zones:"]
    for z in network.ZONES:
        if z.name != "internet":
            lines.append(f"  - {{name: {z.name}, trust: {z.trust}, networks: [{', '.join(quote(n) for n in z.networks)}]}}")
    lines.append("assets:")
    for h in network.HOSTS:
        if h.level:
            addresses = ", ".join(quote(a) for a in network.addresses(h.name))
            lines += [f"  - name: {h.name}", f"    addresses: [{addresses}]", f"    zone: {h.zone}", f"    role: {h.role}",
                      f"    sector: {h.sector}", f"    level: {h.level}", f"    owner: {h.owner}"]
    return "\n".join(lines) + "\n"


def quote(text):
    return f'"{text}"' if ":" in text else text  # an IPv6 address is a mapping to YAML


def reputation(folder, rows):
    with open(folder / "reputation.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["type", "value", "confidence", "reference"])
        writer.writerows(rows)
