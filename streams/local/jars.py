"""The jars of Apache Kafka in a cache, fetched once by Maven from `streams/local/kafka.pom.xml`.

Where Maven fetches from is Maven's own setting: no address is kept in this project.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.local.info import KafkaJarsError

POM: Final = Path(__file__).with_name("kafka.pom.xml")
KAFKA_VERSION: Final = "4.3.1"
FETCH_SECONDS_MAX: Final = 600.0
JAVA_SECONDS_MAX: Final = 20.0
JAVA_MAJOR_MIN: Final = 17
MESSAGE_CHARS_MAX: Final = 500


def choose_cache(environ: Mapping[str, str]) -> Path:
    """Return the cache directory: MACAW_KAFKA_LIBS, else a place under the user's cache."""
    named = environ.get("MACAW_KAFKA_LIBS")
    if named:
        return Path(named).absolute()
    home = environ.get("XDG_CACHE_HOME")
    caches = Path(home) if home else Path.home() / ".cache"
    return caches / "macaw" / f"kafka-{KAFKA_VERSION}"


def is_complete(cache: Path) -> bool:
    """Say whether the cache holds every jar of the present `pom.xml`."""
    mark = _mark(cache)
    return mark.exists() and mark.read_text() == _wanted()


def fetch_jars(cache: Path) -> Path:
    """Return the directory of jars, filled by Maven first if need be; other processes wait.

    Raises:
        KafkaJarsError: there is no Maven, or it failed, or it took ten minutes.
    """
    libs = cache / "libs"
    if is_complete(cache):
        return libs
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaJarsError("no jars of Apache Kafka and no `mvn` to fetch them: install Maven")
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not is_complete(cache):  # another process may have done it while we waited
            shutil.rmtree(libs, ignore_errors=True)
            _run_maven(maven, libs)
            _mark(cache).write_text(_wanted())  # last: a cache without it is fetched again
    return libs


def find_java() -> str:
    """Return a Java that can run the broker.

    Raises:
        KafkaJarsError: there is none, or it is older than 17.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        raise KafkaJarsError(f"no `java` on the path: install Java {JAVA_MAJOR_MIN} or later")
    major = _java_major(java)
    if major < JAVA_MAJOR_MIN:
        raise KafkaJarsError(f"Java is {major}, want {JAVA_MAJOR_MIN} or later: install it or set JAVA_HOME")
    return java


def can_run_kafka(cache: Path) -> bool:
    """Say whether there is a Java, and jars or a Maven; nothing is fetched."""
    try:
        find_java()
    except KafkaJarsError:
        return False
    return is_complete(cache) or shutil.which("mvn") is not None


def _java_major(java: str) -> int:
    try:
        done = subprocess.run(  # noqa: S603 - a program found on the path, no shell
            [java, "-version"], capture_output=True, text=True, timeout=JAVA_SECONDS_MAX, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise KafkaJarsError("`java -version` fails: install Java 17 or later") from error
    match = re.search(r'version "(\d+)', done.stderr)
    return int(match[1]) if match else 0


def _run_maven(maven: str, libs: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={libs}"]
    command = [maven, "-q", "-B", "-f", str(POM), *goal]
    try:
        subprocess.run(  # noqa: S603 - a program found on the path, no shell
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX, check=True
        )
    except subprocess.CalledProcessError as error:
        told = (str(error.stdout) + str(error.stderr)).strip()[:MESSAGE_CHARS_MAX]
        raise KafkaJarsError(f"Maven could not fetch Apache Kafka; see to its settings: {told}") from error
    except subprocess.TimeoutExpired as error:
        raise KafkaJarsError(f"Maven took more than {FETCH_SECONDS_MAX:.0f} s: try again") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mark(cache: Path) -> Path:
    return cache / "complete"


def _wanted() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()
