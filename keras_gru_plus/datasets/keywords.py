"""Keywords that the eSpeak NG synthesizer speaks, as the features of TensorFlow Lite Micro's audio front end."""

from __future__ import annotations

import ctypes
import itertools
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import scratch
from .base import Channel, Dataset, Split

_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start", "wait")
_ACCENTS = ("en", "en-us", "en-us-nyc", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
#: eSpeak's voices by part; variants of one voice (steph, steph2) stand in the same part. Not among them are those
#: that sound different each time (f2, f3, f5, Alicia, sandro, victor: they read memory that eSpeak never wrote).
_VOICES = {
    "train": (
        *(
            "Alex",
            "Andrea",
            "Andy",
            "Annie",
            "Denis",
            "Diogo",
            "Gene",
            "Gene2",
            "Henrique",
            "Hugo",
            "Jacky",
        ),
        *("Lee", "Marco", "Mario", "Mike", "mike2", "Nguyen", "Reed", "adam", "anika", "antonio", "aunty", "belinda"),
        *(
            "benjamin",
            "boris",
            "caleb",
            "david",
            "ed",
            "edward",
            "edward2",
            "f1",
            "gustave",
            "ian",
            "john",
        ),
        *("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "linda", "m1", "m2", "m3", "m4"),
    ),
    "validation": ("Michael", "michel", "f4", "m5", "m6", "marcelo", "max", "grandma", "iven", "iven2", "iven3"),
    "test": (
        *("grandpa", "m7", "m8", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert"),
        *("shelby", "steph", "steph2", "steph3", "travis", "zac"),
    ),
}
_SIZES = {"train": 250, "validation": 50, "test": 100}  # of each word
_RATE = 16000
_FRAMES = 49
#: Seconds in which a pause and a word have room.
_SHORTEST = 2


def keywords(*, seed: int = 0) -> Dataset:
    """Make 4800 utterances of twelve English words, one second each, as 49 frames of 40 mel-like channels.

    The synthesizer eSpeak NG says each word with one of 73 voices and eight accents, at random pitch, speed and
    level, somewhere in the second, with white and brown noise 5 to 30 dB below. The features are those of TensorFlow
    Lite Micro's front end (noise suppression, gain control, logarithm), every second of its 10 ms frames. The same
    seed gives the same data; it takes about ten seconds.

    Voices are train's, validation's or test's, so that a model is tested on voices it has never heard. They are all
    one synthesizer's: the data compares models, and says nothing of people.

    Licence: made here. The programs that make it are GPL-3.0-or-later (eSpeak NG) and Apache-2.0 (front end).

    Args:
        seed: Of all that is random.

    Raises:
        ModuleNotFoundError: If espeakng-loader or pymicro-features, which make the data, is not installed.

    Source: eSpeak NG 1.52, https://github.com/espeak-ng/espeak-ng; words after Warden 2018, arXiv:1804.03209.

    Example:
        >>> data = keywords()
        >>> data.train.x.shape
        (3000, 49, 40)
        >>> data.classes[data.test.y[0]]
        'yes'
    """
    speaker, frontend = _programs("keywords")

    def split(part: str, index: int) -> Split:
        rng = np.random.default_rng((seed, index))
        labels = np.tile(np.arange(len(_WORDS)), _SIZES[part])
        spoken = (_utterance(speaker, _WORDS[y], _VOICES[part], rng) for y in labels)
        x = [np.stack(list(itertools.islice(_features(frontend, second), _FRAMES))) for second in spoken]
        return Split(x=np.stack(x), y=labels.astype(np.int64))

    train, validation, test = (split(part, index) for index, part in enumerate(_VOICES))
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        classes=_WORDS,
        channels=tuple(Channel(f"filter {i}", "1") for i in range(40)),
        rate=50.0,
        licence="GPL-3.0-or-later AND Apache-2.0",
        citation=(
            "eSpeak NG 1.52, https://github.com/espeak-ng/espeak-ng; P. Warden: Speech Commands: A Dataset for "
            "Limited-Vocabulary Speech Recognition. arXiv:1804.03209, 2018"
        ),
    )


def keyword_stream(
    seconds: float, part: str = "test", *, often: Sequence[str] = (), seed: int = 0
) -> tuple[npt.NDArray[np.float32], list[tuple[str, float, float]]]:
    """Make a recording of words with pauses of 0.4 to 2.5 seconds in noise, to try a keyword spotter on.

    The words, voices and features are those of `keywords`; the level stays that of one speaker far or near, and noise
    lies 8 to 30 dB below for the whole recording.

    Args:
        seconds: Length, 2 or more.
        part: "train", "validation" or "test": whose voices.
        often: Words of which every second one is, as keywords are among other words. All are equally frequent
            without it.
        seed: Of all that is random.

    Returns:
        Features `(frames, 40)`, a frame each 20 ms; and each word with the seconds at which it begins and ends.

    Raises:
        ValueError: A part or word that there is not, or fewer than 2 seconds.
        ModuleNotFoundError: If espeakng-loader or pymicro-features, which make the data, is not installed.

    Source: As for `keywords`.

    Example:
        >>> frames, words = keyword_stream(30, often=("yes", "no"))
        >>> frames.shape
        (1499, 40)
    """
    if part not in _VOICES:
        raise ValueError(f"Expected `part` to be one of {', '.join(_VOICES)}, got {part!r}.")
    if unknown := [word for word in often if word not in _WORDS]:
        raise ValueError(f"Expected `often` to be words among {', '.join(_WORDS)}, got {', '.join(unknown)}.")
    if not seconds >= _SHORTEST:
        raise ValueError(f"Expected `seconds` to be {_SHORTEST} or more, got {seconds}.")
    speaker, frontend = _programs("keyword_stream")
    rng = np.random.default_rng((seed, list(_VOICES).index(part)))
    others = [word for word in _WORDS if word not in often]
    count = round(seconds * _RATE)
    # Brown from 10 Hz on: below, a long walk would drift far away.
    spectrum = np.fft.rfft(rng.normal(size=count)) / np.maximum(np.fft.rfftfreq(count, 1 / _RATE), 10)
    brown = np.fft.irfft(spectrum, count)
    noise = rng.normal(size=count) + rng.uniform(0, 2) * brown / brown.std()
    level = 10 ** rng.uniform(2.9, 3.6)
    sound = noise / noise.std() * level * 10 ** (-rng.uniform(8, 30) / 20)
    words: list[tuple[str, float, float]] = []
    now = rng.uniform(0.4, 1)
    while now + 1 <= seconds:  # a word has a second at most
        chosen = often if often and (rng.random() < 0.5 or not others) else others
        word = str(rng.choice(chosen))
        spoken = _spoken(speaker, word, _VOICES[part], rng)
        start = round(now * _RATE)
        end = start + len(spoken)
        sound[start:end] += spoken / np.sqrt(np.mean(spoken**2)) * level * rng.uniform(0.6, 1.4)
        words.append((word, start / _RATE, end / _RATE))
        now = end / _RATE + rng.uniform(0.4, 2.5)
    samples = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    return np.stack(list(_features(frontend, samples))), words


def _programs(name: str) -> tuple[_Speaker, Any]:
    """The synthesizer and the front end, anew."""
    try:
        import espeakng_loader
        from pymicro_features import MicroFrontend
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs espeakng-loader and pymicro-features: pip install 'keras-gru-plus[datasets]'",
            name=error.name,
        ) from None
    return _Speaker(espeakng_loader.get_library_path(), espeakng_loader.get_data_path()), MicroFrontend()


class _Speaker:
    """eSpeak NG by its C interface, which returns samples through a callback."""

    _SYNCHRONOUS, _UTF8, _SPEED, _PITCH = 2, 1, 1, 3

    def __init__(self, library: str, data: str) -> None:
        # Of a copy, so that it starts anew: what it said before changes what it says, and nothing resets that.
        with scratch() as folder:
            self._library = ctypes.CDLL(shutil.copy(library, str(folder)))
        # With exit code 0x8000 it returns errors instead of ending the process.
        self.rate = self._library.espeak_Initialize(self._SYNCHRONOUS, 0, data.encode(), 0x8000)
        if self.rate <= 0:
            raise RuntimeError(f"Expected eSpeak NG to start, got error {self.rate}; try espeakng-loader==0.2.4")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._callback = kind(self._keep)  # kept here, or it would be collected while C calls it
        self._library.espeak_SetSynthCallback(self._callback)
        self._srand = ctypes.CDLL(None).srand

    def _keep(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, word: str, voice: str, *, pitch: int, speed: int, seed: int) -> npt.NDArray[np.float64]:
        """Samples at `rate`. Breathy voices use the C library's random numbers, hence `seed`."""
        self._pieces.clear()
        if code := self._library.espeak_SetVoiceByName(voice.encode()):
            raise RuntimeError(f"Expected eSpeak NG to have the voice {voice}, got error {code}")
        self._library.espeak_SetParameter(self._SPEED, speed, 0)
        self._library.espeak_SetParameter(self._PITCH, pitch, 0)
        self._srand(seed)
        text = word.encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, self._UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._pieces).astype(np.float64)


def _utterance(
    speaker: _Speaker, word: str, voices: tuple[str, ...], rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """One second of the word at 16 kHz, with noise."""
    spoken = _spoken(speaker, word, voices, rng)
    second = np.zeros(_RATE)
    start = rng.integers(0, _RATE - len(spoken) + 1)
    level = 10 ** rng.uniform(2.7, 3.8)
    second[start : start + len(spoken)] = spoken / np.sqrt(np.mean(spoken**2)) * level
    brown = np.cumsum(rng.normal(size=_RATE))
    brown -= np.linspace(brown[0], brown[-1], _RATE)
    noise = rng.normal(size=_RATE) + rng.uniform(0, 2) * brown / brown.std()
    second += noise / noise.std() * level * 10 ** (-rng.uniform(5, 30) / 20)
    return np.clip(np.rint(second), -32768, 32767).astype(np.int16)


def _spoken(
    speaker: _Speaker, word: str, voices: tuple[str, ...], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The word alone at 16 kHz, a second at most, by one of the voices."""
    voice = f"{rng.choice(_ACCENTS)}+{rng.choice(voices)}"
    pitch, speed, seed = int(rng.integers(25, 76)), int(rng.integers(120, 221)), int(rng.integers(2**31))
    spoken = speaker.say(word, voice, pitch=pitch, speed=speed, seed=seed)
    loud = np.flatnonzero(np.abs(spoken) > 0.02 * np.abs(spoken).max())
    return _resampled(spoken[loud[0] : loud[-1] + 1], speaker.rate)[:_RATE]


def _resampled(samples: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.float64]:
    """At 16 kHz, by cutting the spectrum above 8 kHz."""
    count = len(samples) * _RATE // rate
    return np.fft.irfft(np.fft.rfft(samples)[: count // 2 + 1], count) * count / len(samples)


def _features(frontend: Any, samples: npt.NDArray[np.int16]) -> Iterator[npt.NDArray[np.float32]]:
    """Frames of 40 features, every second one of the front end's."""
    frontend.reset()
    left, frame = samples.tobytes(), 0
    while left:
        result = frontend.process_samples(left)
        left = left[2 * result.samples_read :]
        if result.features:
            if frame % 2 == 0:
                yield np.array(result.features, np.float32)
            frame += 1
