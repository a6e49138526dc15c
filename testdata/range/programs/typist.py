"""Somebody at a keyboard: runs a program and types into it as people do. Usage: typist.py SCRIPT SEED COMMAND…

SCRIPT is JSON: a list of [seconds of thought, line].
"""

import json
import random
import subprocess
import sys
import time

script, dice = json.loads(sys.argv[1]), random.Random(sys.argv[2])
program = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=sys.stderr)


def type(text):
    for letter in text:
        program.stdin.write(letter.encode())
        program.stdin.flush()
        pause = dice.uniform(0.02, 0.09)
        if letter == " " and dice.random() < 0.6:  # between words
            pause = dice.uniform(0.55, 1.1)
        time.sleep(pause)


for thought, line in script:
    time.sleep(thought)
    type(line + "\n")
time.sleep(1.5)
program.stdin.close()
try:
    program.wait(timeout=10)
except subprocess.TimeoutExpired:
    program.kill()
