"""A child that sends frames for ever."""

import sys

if __name__ == "__main__":
    while True:
        sys.stdout.buffer.write(b"\0\0\0\1x" * 100)
