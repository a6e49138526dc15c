"""The operator's network and the internet around it: hosts, routers, and how namespaces and veth pairs make them.

    internet ── isp ──────── border ──┬───── core ── dmz, office, control
                                      │                         │
                                tap "border"                    ot ── substation

Each zone is a bridge in the namespace of its router. A bridge in promiscuous mode sees every frame of its zone, so
tcpdump on it is a mirror port: the tap "dmz" sees what the web server says to the resolver beside it, too.

Nothing is translated: the border tap is on the inner side of the border router, where addresses are the real ones
even for operators that translate. The internet has routes to the DMZ and the office only, so nobody outside can
reach the control centre or the substation directly.
"""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PREFIX = "range-"  # of every namespace that we make
ETC = Path("/etc/netns")  # `ip netns exec NAME` mounts ETC/NAME/* over /etc


@dataclass(frozen=True)
class Zone:
    name: str
    router: str
    networks: tuple[str, ...]  # prefixes, as an operator would write them down
    gateways: tuple[str, ...]  # the router's addresses, with prefix length
    trust: str  # internet, dmz, office, control, field


@dataclass(frozen=True)
class Host:
    name: str
    zone: str
    addresses: tuple[str, ...]
    role: str
    sector: str = ""
    level: int = 0  # of protection, 1 to 5; 0 for hosts that are not the operator's
    owner: str = ""
    users: tuple[tuple[str, str], ...] = ()  # (name, password) that may log in by SSH
    resolver: str = "10.20.0.53"


ZONES = [
    Zone("internet", "isp", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8:2::/64", "2001:db8:66::/64",
                             "2001:db8:99::/64"),
         ("192.0.2.1/24", "198.51.100.1/24", "203.0.113.1/24", "2001:db8:2::1/64", "2001:db8:66::1/64",
          "2001:db8:99::1/64"), "internet"),
    Zone("dmz", "core", ("10.20.0.0/24", "2001:db8:20:20::/64"), ("10.20.0.1/24", "2001:db8:20:20::1/64"), "dmz"),
    Zone("office", "core", ("10.30.0.0/24", "2001:db8:20:30::/64"), ("10.30.0.1/24", "2001:db8:20:30::1/64"), "office"),
    Zone("control", "core", ("10.40.0.0/24", "fd20:0:0:40::/64"), ("10.40.0.1/24", "fd20:0:0:40::1/64"), "control"),
    Zone("substation", "ot", ("10.50.0.0/24", "fd20:0:0:50::/64"), ("10.50.0.1/24", "fd20:0:0:50::1/64"), "field"),
]

OUTSIDE = {"resolver": "192.0.2.53"}
IT = {"sector": "energy", "owner": "IT operations"}
OT = {"sector": "energy", "owner": "Grid control"}
ADMIN = ("netadmin", "Kestrel-19-ladder")

HOSTS = [
    Host("attacker", "internet", ("198.51.100.66/24", "2001:db8:66::66/64"), "attacker", **OUTSIDE),
    Host("c2", "internet", ("203.0.113.99/24", "203.0.113.98/24", "2001:db8:99::99/64"), "command and control",
         **OUTSIDE),
    Host("sites", "internet", ("192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24", "192.0.2.13/24",
                               "2001:db8:2::10/64", "2001:db8:2::12/64"), "web sites", **OUTSIDE),
    Host("names", "internet", ("192.0.2.53/24", "2001:db8:2::53/64"), "name server", **OUTSIDE),
    Host("mx", "internet", ("192.0.2.25/24",), "mail server", **OUTSIDE),
    Host("clock", "internet", ("192.0.2.123/24",), "time server", **OUTSIDE),
    Host("visitor1", "internet", ("198.51.100.21/24", "2001:db8:66::21/64"), "customer", **OUTSIDE),
    Host("visitor2", "internet", ("203.0.113.41/24",), "customer", **OUTSIDE),

    Host("web", "dmz", ("10.20.0.10/24", "2001:db8:20:20::10/64"), "web server", level=2, **IT,
         users=(("webadmin", "Winter2026!"), ADMIN)),
    Host("mail", "dmz", ("10.20.0.25/24", "2001:db8:20:20::25/64"), "mail server", level=2, **IT),
    Host("dns", "dmz", ("10.20.0.53/24", "2001:db8:20:20::53/64"), "resolver", level=2, **IT),

    Host("monitor", "office", ("10.30.0.5/24",), "monitoring", level=2, **IT),
    Host("admin", "office", ("10.30.0.11/24", "2001:db8:20:30::11/64"), "administrator workstation", level=2, **IT),
    Host("ws1", "office", ("10.30.0.21/24", "2001:db8:20:30::21/64"), "workstation", level=1, **IT),
    Host("ws2", "office", ("10.30.0.22/24", "2001:db8:20:30::22/64"), "workstation", level=1, **IT),

    Host("jump", "control", ("10.40.0.10/24", "fd20:0:0:40::10/64"), "jump host", level=3, **OT, users=(ADMIN,)),
    Host("hmi", "control", ("10.40.0.20/24", "fd20:0:0:40::20/64"), "HMI", level=3, **OT),
    Host("historian", "control", ("10.40.0.30/24", "fd20:0:0:40::30/64"), "historian", level=3, **OT),
    Host("ews", "control", ("10.40.0.40/24", "fd20:0:0:40::40/64"), "engineering workstation", level=3, **OT,
         users=(("operator", "Feeder-7"), ADMIN)),

    Host("plc1", "substation", ("10.50.0.11/24", "fd20:0:0:50::11/64"), "PLC", level=4, **OT),
    Host("plc2", "substation", ("10.50.0.12/24", "fd20:0:0:50::12/64"), "PLC", level=4, **OT),
    Host("plc3", "substation", ("10.50.0.13/24", "fd20:0:0:50::13/64"), "PLC", level=4, **OT),
    Host("relay1", "substation", ("10.50.0.21/24",), "protection relay", level=4, **OT),
    Host("relay2", "substation", ("10.50.0.22/24",), "protection relay", level=4, **OT),
    Host("relay3", "substation", ("10.50.0.23/24",), "protection relay", level=4, **OT),
    Host("relay4", "substation", ("10.50.0.24/24",), "protection relay", level=4, **OT),
]

# (router, its interface, its addresses) of both ends of each link between routers.
LINKS = [
    (("isp", "to-border", ("100.64.0.1/30", "2001:db8:fffe::1/64")),
     ("border", "to-isp", ("100.64.0.2/30", "2001:db8:fffe::2/64"))),
    (("border", "to-core", ("10.0.0.1/30", "2001:db8:20:ff::1/64")),
     ("core", "to-border", ("10.0.0.2/30", "2001:db8:20:ff::2/64"))),
]

# The substation's router stands in the control centre's network like a host.
OT_LEG = ("10.40.0.254/24", "fd20:0:0:40::fe/64")

ROUTES = {
    "isp": [("10.20.0.0/24", "100.64.0.2"), ("10.30.0.0/24", "100.64.0.2"), ("2001:db8:20::/48", "2001:db8:fffe::2")],
    "border": [("default", "100.64.0.1"), ("10.0.0.0/8", "10.0.0.2"),
               ("default", "2001:db8:fffe::1"), ("2001:db8:20::/48", "2001:db8:20:ff::2"),
               ("fd20::/32", "2001:db8:20:ff::2")],
    "core": [("default", "10.0.0.1"), ("10.50.0.0/24", "10.40.0.254"),
             ("default", "2001:db8:20:ff::1"), ("fd20:0:0:50::/64", "fd20:0:0:40::fe")],
    "ot": [("default", "10.40.0.1"), ("default", "fd20:0:0:40::1")],
}

# Where the sensors listen: name, router, interface, file.
TAPS = [
    ("border", "border", "to-core", "border.pcap.zst"),
    ("dmz", "core", "dmz", "dmz.pcapng.zst"),
    ("substation", "ot", "substation", "substation.pcap.zst"),
]

ROUTERS = ["isp", "border", "core", "ot"]


def host(name):
    return next(h for h in HOSTS if h.name == name)


def zone(name):
    return next(z for z in ZONES if z.name == name)


def addresses(name):
    """The addresses of a host without their prefix lengths."""
    return [a.split("/")[0] for a in host(name).addresses]


def sh(command):
    done = subprocess.run(command, shell=True, text=True, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def namespace(name):
    return PREFIX + name


def build(homes: Path):
    """Makes every namespace, link, address and route. Homes is where the users of the hosts live."""
    for name in ROUTERS + [h.name for h in HOSTS]:
        sh(f"ip netns add {namespace(name)}")
        sh(f"ip -n {namespace(name)} link set lo up")
    for name in ROUTERS:
        sh(f"ip netns exec {namespace(name)} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")

    for (a, a_if, a_addrs), (b, b_if, b_addrs) in LINKS:
        sh(f"ip -n {namespace(a)} link add {a_if} type veth peer name {b_if} netns {namespace(b)}")
        for ns, dev, addrs in ((a, a_if, a_addrs), (b, b_if, b_addrs)):
            configure(ns, dev, addrs)

    for z in ZONES:
        sh(f"ip -n {namespace(z.router)} link add {z.name} type bridge mcast_snooping 0")
        configure(z.router, z.name, z.gateways)
    for number, h in enumerate(HOSTS, start=1):
        plug(h.name, h.zone, number, h.addresses)
        for gateway in gateways(h):
            sh(f"ip -n {namespace(h.name)} route add default via {gateway}")
        if h.zone == "control":
            sh(f"ip -n {namespace(h.name)} route add 10.50.0.0/24 via 10.40.0.254")
            sh(f"ip -n {namespace(h.name)} route add fd20:0:0:50::/64 via fd20:0:0:40::fe")
        furnish(h, homes)
    plug("ot", "control", 200, OT_LEG)

    for router, routes in ROUTES.items():
        for to, via in routes:
            sh(f"ip -n {namespace(router)} {'-6 ' if ':' in via else ''}route add {to} via {via}")


def gateways(h):
    """The default gateways of a host, one per address family and only for families that it speaks."""
    mine = [a.split("/")[0] for a in h.addresses]
    found = {}
    for gateway in zone(h.zone).gateways:
        address = gateway.split("/")[0]
        prefix = address[:address.rindex(":" if ":" in address else ".") + 1]
        if any(m.startswith(prefix) for m in mine):
            found.setdefault(":" in address, address)
    return found.values()


def plug(name, zone_name, number, addrs):
    """Connects a namespace to the bridge of a zone."""
    z = zone(zone_name)
    sh(f"ip -n {namespace(z.router)} link add p-{name} type veth peer name eth-{zone_name[:6]} netns {namespace(name)}")
    # Fixed hardware addresses: locally administered, and the same in each recording.
    sh(f"ip -n {namespace(name)} link set eth-{zone_name[:6]} address 02:00:00:00:{ZONES.index(z):02x}:{number:02x}")
    sh(f"ip -n {namespace(z.router)} link set p-{name} master {zone_name}")
    configure(z.router, f"p-{name}", ())
    configure(name, f"eth-{zone_name[:6]}", addrs)


def configure(ns, dev, addrs):
    # With offloads a capture has segments of 64 KB and checksums that were never computed: not what a wire carries.
    subprocess.run(["ip", "netns", "exec", namespace(ns), "ethtool", "-K", dev, "rx", "off", "tx", "off", "sg", "off",
                    "tso", "off", "gso", "off", "gro", "off"], capture_output=True)
    for address in addrs:
        sh(f"ip -n {namespace(ns)} addr add {address} dev {dev}{' nodad' if ':' in address else ''}")
    sh(f"ip -n {namespace(ns)} link set {dev} up")


def furnish(h, homes):
    """Gives a host its own /etc/resolv.conf, hosts and users, seen only inside its namespace."""
    etc = ETC / namespace(h.name)
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "resolv.conf").write_text(f"nameserver {h.resolver}\noptions timeout:2 attempts:2\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{addresses(h.name)[0]} {h.name}.example {h.name}\n")
    if not h.users:
        return
    passwd, shadow, group = (Path(f"/etc/{f}").read_text() for f in ("passwd", "shadow", "group"))
    for uid, (user, password) in enumerate(h.users, start=61001):
        home = homes / h.name / user
        home.mkdir(parents=True)
        os.chown(home, uid, uid)
        hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password, text=True, capture_output=True,
                                check=True).stdout.strip()
        passwd += f"{user}:x:{uid}:{uid}::{home}:/bin/bash\n"
        shadow += f"{user}:{hashed}:20000:0:99999:7:::\n"
        group += f"{user}:x:{uid}:\n"
    for name, text in (("passwd", passwd), ("shadow", shadow), ("group", group)):
        (etc / name).write_text(text)
    (etc / "shadow").chmod(0o600)


def destroy():
    """Ends what still runs in our namespaces, and removes them. Safe when there are none."""
    ours = [line.split()[0] for line in sh("ip netns list").splitlines() if line.startswith(PREFIX)]
    for sig, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 0.3)):
        pids = [int(p) for ns in ours for p in sh(f"ip netns pids {ns}").split()]
        for pid in pids:
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass
        if pids:
            time.sleep(patience)
    for ns in ours:
        sh(f"ip netns del {ns}")
        shutil.rmtree(ETC / ns, ignore_errors=True)
