"""A running network: run and start programs on its hosts, record its taps."""

import random
import shutil
import subprocess
import time
from pathlib import Path

from . import install, network

# Users of the hosts must be able to read it, and a checkout may be private to its owner.
RUN = Path("/run/tocsin-range")


class Lab:
    def __init__(self, name, tapped):
        self.name, self.tapped = name, tapped
        self.dir = RUN
        self.programs = RUN / "programs"
        self.chronyd = str(install.CHRONY / "usr/sbin/chronyd")
        self.processes = []
        self.taps = []

    def __enter__(self):
        network.destroy()
        shutil.rmtree(RUN, ignore_errors=True)
        (RUN / "log").mkdir(parents=True)
        RUN.chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)
        shutil.copytree(install.HERE / "programs", self.programs)
        # A virtual environment cannot be moved, its packages can.
        shutil.copytree(next(install.VENV.glob("lib/python3*/site-packages")), RUN / "site",
                        ignore=shutil.ignore_patterns("pip*", "setuptools*", "__pycache__"))
        network.build(RUN / "home")
        return self

    def __exit__(self, *_):
        network.destroy()
        for process in self.processes:
            process.wait()
        shutil.rmtree(RUN, ignore_errors=True)

    def random(self, purpose):
        """Dice for one purpose: the same in each recording of the scenario."""
        return random.Random(f"{self.name} {purpose}")

    def command(self, host, argv):
        # Mailers and others tell the world the name of the machine, so each host has one of its own.
        return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, "ip", "netns", "exec",
                network.namespace(host), "env", f"PYTHONPATH={RUN}/site", *argv]

    def run(self, host, argv, input=None, timeout=120):
        """Runs a program on a host and waits. Its failure is normal traffic too, so it is returned, not raised."""
        try:
            return subprocess.run(self.command(host, argv), input=input or "", text=True, capture_output=True, timeout=timeout,
                                  errors="replace")
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{host}: {' '.join(argv)}: still running after {timeout} s") from None

    def must(self, host, argv, **options):
        """Runs a program that has to succeed for the scenario to be what it says."""
        done = self.run(host, argv, **options)
        if done.returncode != 0:
            raise RuntimeError(f"{host}: {' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, host, argv):
        log = open(RUN / "log" / f"{host}.log", "ab")
        process = subprocess.Popen(self.command(host, argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def local(self, argv):
        subprocess.run(argv, check=True, capture_output=True)

    def wait_for_port(self, host, port):
        for _ in range(100):
            if self.run(host, ["ss", "-Hltn", f"sport = {port}"]).stdout:
                return
            time.sleep(0.1)
        log = (RUN / "log" / f"{host}.log").read_text()
        raise RuntimeError(f"{host}: nothing listens on port {port} after 10 s\n{log}")

    def record(self):
        """Starts a capture at each tap, with nanosecond times and whole packets."""
        for name, router, interface, _ in self.tapped:
            # Written by the shell: some systems confine where tcpdump may write.
            command = (f"exec tcpdump -i {interface} -s 0 -U -n -Z root -B 8192 --time-stamp-precision=nano -w - "
                       f"> {RUN}/{name}.pcap 2> {RUN}/log/tap-{name}.log")
            process = subprocess.Popen(self.command(router, ["sh", "-c", command]), stdin=subprocess.DEVNULL)
            self.processes.append(process)
            self.taps.append(process)
        time.sleep(1.5)

    def finish(self, folder):
        """Ends the captures and stores them."""
        for process in self.taps:
            process.terminate()
            process.wait()
        for name, _, _, file in self.tapped:
            capture = RUN / f"{name}.pcap"
            if ".pcapng" in file:
                self.local(["editcap", "-F", "pcapng", str(capture), f"{capture}ng"])
                capture = Path(f"{capture}ng")
            self.local(["zstd", "-q", "-f", "-19", str(capture), "-o", str(folder / file)])
            told = (RUN / "log" / f"tap-{name}.log").read_text()
            if "0 packets dropped by kernel" not in told:
                raise RuntimeError(f"tap {name}: {told}")
