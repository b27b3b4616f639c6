"""An agent that sends back every byte, and writes down those that it got."""

import os
import sys

with open(sys.argv[1], "wb") as received:
    while data := os.read(0, 65_536):
        received.write(data)
        while data:
            data = data[os.write(1, data) :]
