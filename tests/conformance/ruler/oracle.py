"""AWS's event-ruler in a Java process: one question a line, one answer a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["JARS_VARIABLE", "Missing", "Oracle"]

#: Environment variable that names the folder with the jars.
JARS_VARIABLE = "TIDEMILL_RULER_JARS"

_HERE = Path(__file__).parent
_DEFAULT_JARS = _HERE.parents[2] / ".cache" / "ruler" / "libs"
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m")


class Missing(Exception):  # noqa: N818 - named after what happened
    """Java or the jars are not there; the text says what to do."""


class Oracle:
    """The process; a context manager that compiles, starts and stops it in `folder`."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("java") is None:
            raise Missing("no java on the PATH; install a Java 17 runtime")
        self._jars = Path(os.environ.get(JARS_VARIABLE, _DEFAULT_JARS))
        if not list(self._jars.glob("event-ruler-2.*.jar")):
            raise Missing(f"no event-ruler jars; run scripts/ruler-jars or set {JARS_VARIABLE}")
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Oracle:
        classpath = f"{self._jars}/*"
        (compiler,) = self._jars.glob("ecj-*.jar")
        source = str(_HERE / "Oracle.java")
        jars = os.pathsep.join(map(str, self._jars.glob("*.jar")))
        subprocess.run(
            ["java", "-jar", str(compiler), "-17", "-nowarn", "-cp", jars, "-d", str(self._folder), source],
            check=True,
            capture_output=True,
            timeout=120,
        )
        self._process = subprocess.Popen(
            ["java", *_JVM, "-cp", os.pathsep.join([classpath, str(self._folder)]), "Oracle"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(self, *error: object) -> None:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()

    def ask(self, pattern: Any, event: Any) -> bool | str:
        """Whether `event` matches `pattern`; "invalid" when it refuses the pattern."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        question = {"pattern": json.dumps(pattern), "event": json.dumps(event)}
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline().strip()
        return answer if answer == "invalid" else {"true": True, "false": False}[answer]
