"""The benign traffic: what customers, employees, administrators, machines and a monitoring system do all day.

Every person is a loop in a thread. The order of what they do is the same in each recording; the times are not, since
the network is real.
"""

import threading

from . import network

BROWSERS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1",
]

SSH = ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]


def ssh_command(user, password, to, command, *options):
    return ["sshpass", "-p", password, *SSH, "-o", "PubkeyAuthentication=no", *options, f"{user}@{to}", command]


class People:
    def __init__(self, lab, pace=1):
        """A greater pace makes them take longer between what they do, and the recording smaller."""
        self.lab, self.pace = lab, pace
        self.stop = threading.Event()
        self.threads = []
        self.polling = []

    def begin(self):
        lab = self.lab
        self.polling = [
            lab.start("hmi", ["/usr/bin/python3", f"{lab.programs}/hmi.py", "2", "20", "1=10.50.0.11", "1=10.50.0.12",
                              "1=fd20:0:0:50::13"]),
            lab.start("historian", ["/usr/bin/python3", f"{lab.programs}/hmi.py", "10", "0", "1=fd20:0:0:50::11",
                                    "1=10.50.0.12", "1=10.50.0.13"]),
        ]
        for name, act, pause in [
            ("ws1", self.browse, (1, 5)), ("ws2", self.browse, (2, 6)), ("admin", self.browse, (6, 14)),
            ("visitor1", self.visit, (2, 6)), ("visitor2", self.visit, (2, 7)),
            ("ws1", self.write_mail, (12, 30)), ("mx", self.deliver_mail, (15, 35)),
            ("admin", self.administer, (8, 20)), ("monitor", self.watch, (10, 10)),
            ("ws2", self.update, (35, 60)), ("ws2", self.look_up, (3, 9)), ("mail", self.look_up, (8, 20)),
            ("admin", self.set_clock, (40, 60)), ("web", self.set_clock, (45, 70)), ("ews", self.resolve_inside, (8, 16)),
        ]:
            if self.pace > 1 and act == self.update:
                continue  # what does not compress is most of a recording
            thread = threading.Thread(target=self.live, args=(name, act, pause), daemon=True)
            thread.start()
            self.threads.append(thread)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(timeout=30)
        for process in self.polling:  # they close their connections
            process.terminate()
            process.wait()

    def live(self, name, act, pause):
        dice = self.lab.random(f"{name} {act.__name__}")
        self.stop.wait(dice.uniform(0, pause[1] / 2))
        while not self.stop.is_set():
            act(name, dice)
            self.stop.wait(self.pace * dice.uniform(*pause))

    # Each of these is one thing done by the person at the host `name`.

    def browse(self, name, dice):
        site = dice.choice(["portal.example.org", "www.example.org", "news.example.net", "updates.vendor.example",
                            "www.utility.example",
                            f"d{dice.getrandbits(80):020x}.edge-{dice.randrange(9):02}.eu-central.cdn.example.com"])
        page = dice.choice(["", "weather.html", "markets.html", "article/1.html", "article/2.html", "files/logo.png",
                            "missing.html", "api/session", "old/start"])
        tls = dice.choice([[], [], ["--tls-max", "1.2"], ["--http1.1"], ["--tlsv1.3"]])
        scheme = dice.choice(["http", "https", "https"])
        self.curl(name, dice, *tls, f"{scheme}://{site}/{page}")

    def visit(self, name, dice):
        page = dice.choice(["", "outages.html", "tariffs.html", "news/1.html", "news/2.html", "contact.html",
                            "files/logo.png", "files/report.pdf", "search?q=power+outage+street", "api/meter?id=4711"])
        if dice.random() < 0.2:
            self.curl(name, dice, "-X", "POST", "-d", f"user=customer{dice.randrange(90)}&pin={dice.randrange(9999):04}",
                      "https://www.utility.example/login")
        elif dice.random() < 0.1:
            self.curl(name, dice, "-I", "http://www.utility.example/")
        elif dice.random() < 0.1:
            self.lab.run(name, ["openssl", "s_client", "-connect", "www.utility.example:443", "-servername",
                                "www.utility.example", "-alpn", "http/1.1"], input="")
        else:
            self.curl(name, dice, dice.choice(["http", "https"]) + f"://www.utility.example/{page}")

    def curl(self, name, dice, *arguments):
        self.lab.run(name, ["curl", "-sk", "-m", "20", "-o", "/dev/null", "-A", dice.choice(BROWSERS), *arguments])

    def write_mail(self, name, dice):
        self.mail(name, dice, "mail.utility.example", "anna@utility.example", "bert@example.org")
        if dice.random() < 0.7:  # and the mail server passes it on
            self.mail("mail", dice, "mx.example.org", "anna@utility.example", "bert@example.org")

    def deliver_mail(self, name, dice):
        self.lab.run(name, ["dig", "+short", "utility.example", "MX"])
        self.mail(name, dice, "mail.utility.example", "bert@example.org", "anna@utility.example")

    def mail(self, name, dice, server, sender, to):
        # Perl's sockets do not look up names of both families as one would like; an address does.
        address = {"mail.utility.example": "10.20.0.25", "mx.example.org": "192.0.2.25"}[server]
        self.lab.run(name, ["dig", "+short", server, "A"])
        self.lab.run(name, ["swaks", "--silent", "3", "--server", address, "--helo", f"{name}.example", "--from", sender,
                            "--to", to, "--header", f"Subject: Minutes of meeting {dice.randrange(99)}", "--body",
                            "As agreed on the telephone. " * dice.randrange(3, 60), *dice.choice([["--tls-optional"], []])])

    def administer(self, name, dice):
        user, password = network.ADMIN
        target = dice.choice(["10.20.0.10", "10.20.0.10", "2001:db8:20:20::10", "10.40.0.10"])
        command = dice.choice(["uptime", "df -h; ps ax", "cat /etc/os-release; sleep 3", "head -c 60000 /dev/urandom"])
        if target == "10.40.0.10" and dice.random() < 0.5:  # from the jump host on to the engineering workstation
            command = " ".join(["sshpass", "-p", password, *SSH, f"{user}@10.40.0.40", "'uptime; sleep 2; ls /usr/share'"])
        if dice.random() < 0.4:
            self.lab.run(name, [*SSH, "-i", f"{self.lab.dir}/admin-key", f"{user}@{target}", command])
        else:
            self.lab.run(name, ssh_command(user, password, target, command))

    def mistype(self, name):
        """One wrong password, a moment of thought, the right one."""
        user, password = network.ADMIN
        self.lab.run(name, ssh_command(user, "Kestrel-19-laddr", "10.20.0.10", "uptime", "-o", "NumberOfPasswordPrompts=1"))
        self.stop.wait(4)
        self.lab.run(name, ssh_command(user, password, "10.20.0.10", "uptime"))

    def watch(self, name, dice):
        for address in ("10.20.0.10", "10.20.0.25", "10.20.0.53", "10.40.0.10"):
            self.lab.run(name, ["ping", "-c", "1", "-W", "1", address])
        for address, port in (("10.20.0.10", 443), ("10.20.0.10", 80), ("10.20.0.25", 25), ("10.40.0.10", 22)):
            self.lab.run(name, ["bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}; exec 3>&-"])

    def update(self, name, dice):
        self.lab.run(name, ["curl", "-sk", "-m", "30", "-o", "/dev/null", "-A", "Vendor-Update-Agent/4.2",
                            "http://updates.vendor.example/files/update-4.2.1.bin"])

    def look_up(self, name, dice):
        question = dice.choice([
            ["portal.example.org", "AAAA"], ["example.org", "MX"], ["utility.example", "TXT"], ["example.org", "TXT"],
            ["-x", "192.0.2.25"], ["wpad.corp.utility.example"], ["typo-portal.example.org"], ["wwww.example.net"],
            ["_ldap._tcp.corp.utility.example", "SRV"], ["portal.example.org", "HTTPS"], ["example.org", "MX", "+tcp"],
            [f"a{dice.getrandbits(100):025x}.b{dice.getrandbits(60):015x}.eu-central.cdn.example.com"],
            ["@2001:db8:20:20::53", "news.example.net"],
        ])
        self.lab.run(name, ["dig", "+short", "+tries=1", *question])

    def resolve_inside(self, name, dice):
        self.lab.run(name, ["dig", "+short", dice.choice(["historian.corp.utility.example", "jump.corp.utility.example",
                                                          "updates.vendor.example"])])

    def set_clock(self, name, dice):
        self.lab.run(name, [self.lab.chronyd, "-Q", "-t", "6", "-u", "root", "server 192.0.2.123 iburst maxsamples 2"])
