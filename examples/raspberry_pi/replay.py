"""Plays a recording as a sensor would: python replay.py RECORDING.csv RATE_IN_HZ."""

import sys
import time

with open(sys.argv[1]) as recording:
    for line in recording:
        print(line, end="", flush=True)
        time.sleep(1 / float(sys.argv[2]))
