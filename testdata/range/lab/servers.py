"""The servers of the network: real ones, each in the namespace of its host, with a configuration written here."""

import shutil

from . import network

WEB_PAGE = "<!doctype html><title>{0}</title><h1>{0}</h1>" + "<p>Lines are open from eight to six on working days.</p>" * 40

NGINX = """
daemon off; user www-data; worker_processes 1; pid {run}/nginx-{name}.pid; error_log {run}/log/nginx-{name}.log;
events {{ worker_connections 256; }}
http {{
  access_log off; server_tokens on; client_max_body_size 20m; client_body_temp_path {run}/nginx-{name}-body;
  proxy_temp_path {run}/nginx-{name}-proxy; fastcgi_temp_path {run}/nginx-{name}-f; scgi_temp_path {run}/nginx-{name}-s;
  uwsgi_temp_path {run}/nginx-{name}-u;
  default_type text/html;
  ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 80; listen [::]:80; listen 443 ssl{http2}; listen [::]:443 ssl{http2};
    root {run}/www/{name};
    location /api/ {{ proxy_pass http://127.0.0.1:9000; }}
    location /login {{ proxy_pass http://127.0.0.1:9000; }}
    location /upload {{ proxy_pass http://127.0.0.1:9000; }}
    location /files/ {{ default_type application/octet-stream; }}
    location /old/ {{ return 301 /; }}
  }}
  server {{ listen 127.0.0.1:9000; default_type application/json; location / {{ return 200 '{{"status":"ok","next":30}}'; }} }}
}}
"""

SSHD = """
Port 22
HostKey {run}/hostkey-{name}
PidFile none
UsePAM no
PasswordAuthentication yes
PubkeyAuthentication yes
PermitRootLogin no
StrictModes no
MaxStartups 50
MaxAuthTries 4
UseDNS no
PrintMotd no
PrintLastLog no
"""

# The names that the outside name server knows.
NAMES = """
no-resolv
no-hosts
local=/example.org/
local=/example.net/
local=/example.com/
local=/example/
local=/arpa/
host-record=www.utility.example,10.20.0.10,2001:db8:20:20::10
host-record=mail.utility.example,10.20.0.25,2001:db8:20:20::25
mx-host=utility.example,mail.utility.example,10
mx-host=example.org,mx.example.org,10
host-record=mx.example.org,192.0.2.25
host-record=portal.example.org,192.0.2.10,2001:db8:2::10
cname=www.example.org,portal.example.org
host-record=news.example.net,192.0.2.11
host-record=updates.vendor.example,192.0.2.12,2001:db8:2::12
address=/cdn.example.com/192.0.2.13
host-record=ntp.example.net,192.0.2.123
host-record=cdn-metrics.example,203.0.113.99,2001:db8:99::99
txt-record=example.org,"v=spf1 ip4:192.0.2.25 -all"
txt-record=utility.example,"v=spf1 ip4:10.20.0.25 -all"
ptr-record=25.2.0.192.in-addr.arpa,mx.example.org
ptr-record=10.0.20.10.in-addr.arpa,www.utility.example
"""

# The operator's resolver: its own zone, and the outside for the rest. The two zones of the intruder are delegated to
# the intruder's name servers, as a recursive resolver would find out by itself.
RESOLVER = """
no-resolv
no-hosts
cache-size=500
server=192.0.2.53
server=/t.cdn-metrics.example/203.0.113.99
server=/b.cdn-metrics.example/203.0.113.98
local=/corp.utility.example/
host-record=jump.corp.utility.example,10.40.0.10
host-record=ews.corp.utility.example,10.40.0.40
host-record=historian.corp.utility.example,10.40.0.30
host-record=intranet.corp.utility.example,10.20.0.10
"""

C2_NAMES = """
no-resolv
no-hosts
local=/b.cdn-metrics.example/
address=/b.cdn-metrics.example/198.51.100.66
"""

SITES = {
    "web": ("www.utility.example", ["index", "outages", "tariffs", "contact", "news/1", "news/2", "news/3"]),
    "sites": ("portal.example.org", ["index", "weather", "markets", "sport", "article/1", "article/2", "article/3"]),
    "c2": ("cdn-metrics.example", ["index"]),
}


def start(lab):
    """Starts every server and waits until each listens."""
    for name in SITES:
        web(lab, name)
    dnsmasq(lab, "names", NAMES)
    dnsmasq(lab, "dns", RESOLVER)
    dnsmasq(lab, "c2", C2_NAMES + "listen-address=203.0.113.98\nbind-interfaces\n")
    lab.local(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{lab.dir}/admin-key"])
    for name in ("web", "jump", "ews"):
        ssh(lab, name)
    for name, domain in (("mail", "mail.utility.example"), ("mx", "mx.example.org")):
        cert, key = certificate(lab, domain)
        lab.start(name, ["/usr/bin/python3", str(lab.programs / "mailserver.py"), domain, cert, key])
    (lab.dir / "chrony.conf").write_text(f"local stratum 2\nallow all\nport 123\ncmdport 0\npidfile {lab.dir}/chrony.pid\n")
    lab.start("clock", [lab.chronyd, "-d", "-x", "-u", "root", "-f", f"{lab.dir}/chrony.conf"])
    for number in (1, 2, 3):
        lab.start(f"plc{number}", ["/usr/bin/python3", str(lab.programs / "plc.py"), f"EGC-4{number}0", "600"])

    for name, port in [("web", 80), ("web", 443), ("web", 22), ("sites", 80), ("c2", 443), ("names", 53), ("dns", 53),
                       ("c2", 53), ("jump", 22), ("ews", 22), ("mail", 25), ("mx", 25), ("plc1", 502), ("plc2", 502),
                       ("plc3", 502)]:
        lab.wait_for_port(name, port)


def web(lab, name):
    domain, pages = SITES[name]
    root = lab.dir / "www" / name
    for page in pages:
        path = root / f"{page}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(WEB_PAGE.format(f"{domain}: {page}"))
    (root / "files").mkdir()
    # Bytes that do not compress, but are the same in each recording.
    for file, size in (("logo.png", 6_000), ("report.pdf", 60_000), ("update-4.2.1.bin", 180_000)):
        (root / "files" / file).write_bytes(lab.random("file " + file).randbytes(size))
    cert, key = certificate(lab, domain)
    conf = lab.dir / f"nginx-{name}.conf"
    conf.write_text(NGINX.format(run=lab.dir, name=name, cert=cert, key=key, http2="" if name == "c2" else " http2"))
    lab.start(name, ["nginx", "-c", str(conf), "-e", f"{lab.dir}/log/nginx-{name}.log"])


def dnsmasq(lab, name, text):
    conf = lab.dir / f"dnsmasq-{name}.conf"
    conf.write_text(text)
    lab.start(name, ["dnsmasq", "--keep-in-foreground", f"--conf-file={conf}", f"--pid-file={lab.dir}/dnsmasq-{name}.pid",
                     "--user=nobody"])


def ssh(lab, name):
    keys = lab.dir / "home" / name / network.ADMIN[0] / ".ssh"
    keys.mkdir()
    shutil.copy(lab.dir / "admin-key.pub", keys / "authorized_keys")
    conf = lab.dir / f"sshd-{name}.conf"
    conf.write_text(SSHD.format(run=lab.dir, name=name))
    lab.local(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{lab.dir}/hostkey-{name}"])
    lab.start(name, ["/usr/sbin/sshd", "-D", "-f", str(conf), "-E", f"{lab.dir}/log/sshd-{name}.log"])


def certificate(lab, domain):
    """A self-signed certificate: paths of it and its key."""
    cert, key = f"{lab.dir}/{domain}.crt", f"{lab.dir}/{domain}.key"
    lab.local(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
               "397", "-subj", f"/O=Example/CN={domain}", "-addext", f"subjectAltName=DNS:{domain}", "-keyout", key,
               "-out", cert])
    return cert, key


def tunnel(lab):
    """The far end of the intruder's DNS tunnel, only in scenarios that have one."""
    lab.start("c2", ["iodined", "-f", "-c", "-P", "sesame", "-l", "203.0.113.99", "10.99.0.1/24", "t.cdn-metrics.example"])
