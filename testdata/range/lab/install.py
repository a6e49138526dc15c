"""What a recording needs: Debian packages, and Python packages in a folder of our own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
VENV = HERE / ".cache" / "venv"
CHRONY = HERE / ".cache" / "chrony"

# program → Debian package
PROGRAMS = {
    "ip": "iproute2", "ethtool": "ethtool", "ifconfig": "net-tools", "ping": "iputils-ping", "tcpdump": "tcpdump",
    "tshark": "tshark", "zstd": "zstd", "nginx": "nginx-light", "dnsmasq": "dnsmasq-base", "sshd": "openssh-server",
    "ssh": "openssh-client", "sshpass": "sshpass", "openssl": "openssl", "curl": "curl", "dig": "bind9-dnsutils",
    "nmap": "nmap", "hydra": "hydra", "iodine": "iodine", "swaks": "swaks",
}


def install():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if not (Path("/usr/lib/python3.11/ensurepip").exists() or list(Path("/usr/lib").glob("python3.*/ensurepip"))):
        missing.append("python3-venv")
    if missing:
        print("installing", *missing, flush=True)
        # RUNLEVEL=1 keeps Debian from starting the servers: we want the programs only.
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(["apt-get", "update", "-q"], env=env, stdout=subprocess.DEVNULL)
        done = subprocess.run(["apt-get", "install", "-yq", "--no-install-recommends", *missing], env=env,
                              stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"record: apt-get could not install {' '.join(missing)}; the range needs them (Debian 12 or newer)")

    wanted = (HERE / "requirements.txt").read_text()
    stamp = VENV / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin/pip"), "-q", "install", "-r", str(HERE / "requirements.txt")], check=True)
        stamp.write_text(wanted)

    # Installing chrony would replace the machine's own clock discipline; unpacking it does not.
    if not (CHRONY / "usr/sbin/chronyd").exists():
        CHRONY.mkdir(parents=True, exist_ok=True)
        CHRONY.chmod(0o777)  # apt downloads as its own user
        subprocess.run(["apt-get", "download", "-q", "chrony"], cwd=CHRONY, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["dpkg", "-x", str(next(CHRONY.glob("chrony_*.deb"))), str(CHRONY)], check=True)
        CHRONY.chmod(0o755)
