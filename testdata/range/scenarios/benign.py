"""A quiet day: nothing here is an attack."""

import time

DESCRIPTION = ("Only benign traffic of the recorded network: browsing, mail, look-ups, updates, administration by SSH with "
               "one mistyped password, HMI polling with setpoint changes, monitoring. No alert above low is right here.")
SECONDS = 210


def play(lab, people, truth):
    time.sleep(60)
    people.mistype("admin")
    truth.notes.append("admin (10.30.0.11) mistypes its SSH password on web (10.20.0.10) once and then logs in: one "
                       "failure is no password guessing")
    truth.notes.append("hmi (10.40.0.20) changes a setpoint or a breaker every 20 s: it is the one host that may")
    truth.notes.append("monitor (10.30.0.5) pings and connects to four hosts every 10 s: regular, but no beacon")
    time.sleep(max(0, truth.started + SECONDS - time.time()))


def write(folder):
    pass  # the captures and the truth are all
