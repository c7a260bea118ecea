"""An MPU-6050 on I²C as lines of CSV: acceleration in g, rotation in °/s, 50 times a second (pip install smbus2)."""

import struct
import time

from smbus2 import SMBus

with SMBus(1) as bus:
    bus.write_byte_data(0x68, 0x6B, 0)  # wake up; the ranges are ±2 g and ±250 °/s
    while True:
        raw = struct.unpack(">7h", bytes(bus.read_i2c_block_data(0x68, 0x3B, 14)))
        print(*(v / 16384 for v in raw[:3]), *(v / 131 for v in raw[4:]), sep=",", flush=True)
        time.sleep(1 / 50)
