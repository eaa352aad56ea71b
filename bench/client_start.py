"""The process of `bench.clients`: it opens clients one after the other, and tells what they take.

It imports what such a process imports, and nothing of the bench. Questions to the brokers are counted by classes in
place of the library's, so that every version of the code is counted alike.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import confluent_kafka

CALLS = 200
CALL = ("tool:bank/balance", dict[str, Any]())
trips = {"events": 0, "offsets": 0, "metadata": 0}


class CountedConsumer(confluent_kafka.Consumer):
    """A consumer that counts questions for offsets."""

    def get_watermark_offsets(self, *of: Any, **how: Any) -> Any:
        """Ask, and count."""
        trips["offsets"] += 1
        return super().get_watermark_offsets(*of, **how)


class CountedProducer(confluent_kafka.Producer):
    """A producer that counts events and questions for metadata."""

    def produce(self, *of: Any, **how: Any) -> Any:
        """Send, and count."""
        trips["events"] += 1
        return super().produce(*of, **how)

    def list_topics(self, *of: Any, **how: Any) -> Any:
        """Ask, and count."""
        trips["metadata"] += 1
        return super().list_topics(*of, **how)


def status(name: str) -> int:
    """Return a figure of this process."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def call_ms(client: Any) -> float:
    """Return the median time of a call."""
    took = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        client.invoke(*CALL)
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


def main(count: int) -> dict[str, float]:
    """Open the clients and return the figures."""
    confluent_kafka.Consumer, confluent_kafka.Producer = CountedConsumer, CountedProducer  # type: ignore[misc]
    from producers.client import Client

    told: dict[str, float] = {"imports_mb": status("VmRSS") / 1000}
    clients, took, asked = [], list[float](), list[int]()
    for _ in range(count):
        begun, before = time.perf_counter(), sum(trips.values())
        clients.append(Client.connect(None, "teller"))
        took.append((time.perf_counter() - begun) * 1000)
        asked.append(sum(trips.values()) - before)
        if len(clients) == 1:
            told |= {"first_ms": took[0], "threads_1": status("Threads"), "rss_mb_1": status("VmRSS") / 1000}
            for _ in range(20):
                clients[0].invoke(*CALL)
            told["call_ms"] = call_ms(clients[0])
    told |= {"open_ms": statistics.median(took[1:]), "open_trips": statistics.median(asked[1:])}
    told |= {f"threads_{count}": status("Threads"), f"rss_mb_{count}": status("VmRSS") / 1000}
    told["call_beside_ms"] = call_ms(clients[-1])
    for client in clients:
        client.close()
    return told


if __name__ == "__main__":
    print(json.dumps({name: round(value, 3) for name, value in main(int(sys.argv[1])).items()}))
