"""The child process in which TensorFlow's converter runs, and the parent's side of it.

The converter can end its process (SIGSEGV, abort). In a child that is an error message; the child
lives on between conversions, since importing TensorFlow costs seconds and a conversion a tenth of one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any


class ConversionError(RuntimeError):
    """The converter refused a graph, died, or made a file that is not the model."""


class Converter:
    """A converter process, started at its first use and again after it died.

    Args:
        timeout: seconds that one conversion may take.
    """

    def __init__(self, timeout: float = 300.0) -> None:
        self.timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._log: Any = None
        self._lock = threading.Lock()

    def convert(
        self, saved_model: str, *, per_channel: bool = False, variables: bool = False, floats: int | None = None
    ) -> bytes:
        """The raw `.tflite` bytes for a SavedModel.

        Args:
            saved_model: directory.
            per_channel: weights of dense layers per channel instead of per tensor.
            variables: the graph has resource variables, to be made int8.
            floats: 32 or 16 for a graph that stays in floating point, with weights of so many bits.

        Raises:
            ConversionError: with the converter's own words, or the signal that ended it.
        """
        from keras_gru_plus.atomic import scratch  # not in the child, which is started with this file alone

        with self._lock, scratch() as directory:
            output = directory / "model.tflite"
            request = {
                "saved_model": saved_model,
                "output": str(output),
                "per_channel": per_channel,
                "variables": variables,
                "floats": floats,
            }
            answer = self._ask(json.dumps(request))
            if answer.get("error"):
                raise ConversionError(f"The TensorFlow Lite converter refused the graph: {answer['error']}")
            return output.read_bytes()

    def _ask(self, request: str) -> dict[str, Any]:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        watchdog = threading.Timer(self.timeout, end)
        watchdog.start()
        try:
            process.stdin.write(request + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:  # interrupted: the answer would be taken for that of the next request
            self.close()
            raise
        finally:
            watchdog.cancel()
        if line.endswith("\n"):
            return dict(json.loads(line))
        code = process.wait()
        message = f"The converter process died ({describe_exit(code)})"
        if late.is_set():
            message += f" after its {self.timeout:g} s were over"
        tail = self._tail()
        self.close()
        raise ConversionError(message + (f"; its last words: {tail}" if tail else "") + ". Nothing was written.")

    def _start(self) -> subprocess.Popen[str]:
        self.close()
        self._log = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115 (`close` closes it)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        return self._process

    def _tail(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return " | ".join(lines[-3:])[:600]

    @property
    def pid(self) -> int | None:
        """The child's process number, None if none is running."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def close(self) -> None:
        """Ends the child; the next conversion starts another."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError, BrokenPipeError):
                    if stream is not None:
                        stream.close()
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None


def describe_exit(code: int) -> str:
    """A process' exit code in words."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


#: The one converter of this process.
shared = Converter()
atexit.register(shared.close)


def _convert(request: dict[str, Any]) -> None:
    import tensorflow as tf

    from keras_gru_plus_export import tf_lite  # by its full name: this file runs as a script

    converter = tf_lite.from_saved_model(request["saved_model"])
    converter.exclude_conversion_metadata = True
    if request["floats"] == 16:
        tf_lite.optimize(converter)
        converter.target_spec.supported_types = [tf.float16]
    if request["floats"] is None:
        _quantize(converter, request)
    Path(request["output"]).write_bytes(converter.convert())


def _quantize(converter: Any, request: dict[str, Any]) -> None:
    """Quantizes weights; activations already have their fake-quants. Never its calibrator, which crashes."""
    from keras_gru_plus_export import tf_lite

    tf_lite.optimize(converter)
    tf_lite.int8_ends(converter)
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not request["per_channel"]
    converter._experimental_variable_quantization = request["variables"]


def _serve() -> None:
    # The converter prints to stdout; answers go to the parent's pipe, everything else to the log.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            _convert(json.loads(line))
            answer: dict[str, Any] = {}
        except Exception as error:  # noqa: BLE001 (whatever the converter raises becomes the parent's ConversionError)
            words = str(error).strip() or type(error).__name__
            position = max(words.find("error:"), 0)
            answer = {"error": f"{type(error).__name__}: {words[position : position + 600]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    # Python puts this file's folder first, where modules such as html.py hide the standard library's.
    sys.path = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    _serve()
