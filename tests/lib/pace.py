"""How slow this machine is at the moment, for the limits of time in tests: they were set on a machine that takes
NOMINAL_S for the piece of work below. Where that takes three times as long, as on a crowded host, or where the gateway
is a build with sanitizers, three seconds are what one second was. How fast the gateway is, tests/bench says; a limit
here only tells "at once" from "after a timer", and a slow machine may not turn the first into the second."""
import os
import time

NOMINAL_S = 0.0145
SAMPLES = 8
SANITIZED = 3
MOST = 12


def _work():
    start, value = time.monotonic(), 0
    for i in range(200_000):
        value ^= i * i
    return time.monotonic() - start


def factor():
    """By how much limits are longer here and now; at least 1."""
    slow = max(1, sum(_work() for _ in range(SAMPLES)) / SAMPLES / NOMINAL_S)
    sanitized = any(f"{name}_OPTIONS" in os.environ for name in ("ASAN", "TSAN"))
    return min(MOST, slow * (SANITIZED if sanitized else 1))


def limit_here(took_s, limit_s):
    """What the limit is on a machine such as this, for something that took so long, or has until now. What is within
    the limit as it stands costs no measurement."""
    return limit_s if took_s <= limit_s else limit_s * factor()
