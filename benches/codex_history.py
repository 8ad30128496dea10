"""
A history as Codex writes it, made from a seed, whose images come again and again.

57 images of 60 - 100 kB are pasted in the course of a talk. Each compaction writes
the whole talk so far once more into one line, images and all, and each sub-agent's
file begins with a copy of its parent's last compaction. So a few MB of images
become tens of GB: what several users have reported.
"""

import argparse
import base64
import json
import random

from collections.abc import Iterator
from pathlib import Path
from typing import Any


IMAGE_COUNT = 57
TURNS_PER_COMPACTION = 3
COMPACTIONS_PER_AGENT = 40


def write(folder: Path, *, size: int, seed: int) -> list[Path]:
    """Write rollouts of about *size* bytes to *folder*; return their paths."""
    rng, words, images = _material(seed)
    talk: list[Any] = []
    paths: list[Path] = []
    written = 0
    while written < size:
        path = folder / f"rollout-2026-01-01T00-00-{len(paths):04}.jsonl"
        paths.append(path)
        with path.open("wb") as file:
            for record in _rollout(rng, words, images, talk, len(paths)):
                file.write(json.dumps(record).encode() + b"\n")
                if written + file.tell() >= size:
                    break
            written += file.tell()
    return paths


def image_size(seed: int) -> int:
    """Return the bytes of all images, before base64: they shrink to nothing less."""
    _, _, images = _material(seed)
    return sum(len(image) for image in images) * 3 // 4


def _material(seed: int) -> tuple[random.Random, list[str], list[str]]:
    """Return the dice, the words of all texts, and the images."""
    rng = random.Random(seed)
    words = [f"{rng.getrandbits(36):x}" for _ in range(4000)]
    return rng, words, [_image(rng) for _ in range(IMAGE_COUNT)]


def _rollout(
    rng: random.Random,
    words: list[str],
    images: list[str],
    talk: list[Any],
    number: int,
) -> Iterator[dict[str, Any]]:
    clock = number * 100_000
    meta = {"id": f"{rng.getrandbits(128):032x}", "cwd": "/home/someone", "git": None}
    yield _record(clock, "session_meta", meta)
    if talk:
        yield _record(clock, "compacted", {"message": "", "replacement_history": talk})
    for _ in range(COMPACTIONS_PER_AGENT):
        for _ in range(TURNS_PER_COMPACTION):
            clock += 1
            for item in _turn(rng, words, images):
                talk.append(item)
                yield _record(clock, "response_item", item)
        # Old text goes, images stay: as it happens.
        texts = [item for item in talk if not _has_image(item)]
        for item in texts[:-200]:
            talk.remove(item)
        history = {"message": "", "replacement_history": list(talk)}
        yield _record(clock, "compacted", history)


def _turn(
    rng: random.Random, words: list[str], images: list[str]
) -> Iterator[dict[str, Any]]:
    content = [{"type": "input_text", "text": _text(rng, words, 300)}]
    if images and rng.random() < 0.4:
        content.append({"type": "input_image", "image_url": images.pop()})
    yield {"type": "message", "role": "user", "content": content}
    name = f"call_{rng.getrandbits(64):x}"
    yield {"type": "function_call", "call_id": name, "arguments": "{}"}
    output = _text(rng, words, rng.randrange(200, 4000))
    yield {"type": "function_call_output", "call_id": name, "output": output}


def _has_image(item: dict[str, Any]) -> bool:
    return any("image_url" in part for part in item.get("content", ()))


def _record(clock: int, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    hours, minutes = divmod(clock // 60 % 1440, 60)
    time = f"2026-01-01T{hours:02}:{minutes:02}:{clock % 60:02}.000Z"
    return {"timestamp": time, "type": kind, "payload": payload}


def _text(rng: random.Random, words: list[str], size: int) -> str:
    return " ".join(rng.choices(words, k=max(1, size // 10)))


def _image(rng: random.Random) -> str:
    data = rng.randbytes(rng.randrange(60_000, 100_000))
    return "data:image/png;base64," + base64.b64encode(data).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    size = options.megabytes * 1_000_000
    for path in write(options.folder, size=size, seed=options.seed):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
