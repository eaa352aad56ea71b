"""Producers of the library that die of a fatal error, as they do of a broker that came back with an older log."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import confluent_kafka

OUT_OF_ORDER_SEQUENCE_NUMBER = 45
OBJECT_HEAD_BYTES = 16


def kill(producer: Any) -> None:
    """Raise a fatal error in a producer, by the library's own function for tests."""
    [path] = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_test_fatal_error.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    handle = ctypes.cast(id(producer) + OBJECT_HEAD_BYTES, ctypes.POINTER(ctypes.c_void_p))[0]
    assert library.rd_kafka_test_fatal_error(handle, OUT_OF_ORDER_SEQUENCE_NUMBER, b"played") == 0
