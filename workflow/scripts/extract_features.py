"""Write the features that an encoder sees in each image of some shards, other tars or folders.

Killed and started again it goes on after the last chunk in its cache, and ends in the same bytes.
Features are as the encoder gives them: not normalised, not centred.
"""

import argparse
import hashlib
import importlib
import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from synthgap.atomic import write_text
from synthgap.data.encoded import is_shard, read_encoded
from synthgap.data.features import UNKNOWN_CLASS, FeatureCache, FeatureWriter, Values, stored
from synthgap.data.images import decode
from synthgap.data.shards import Sample, count_readable, read_shard
from synthgap.devices import take_device
from synthgap.digest import code_digest
from synthgap.encoders import Encoder, Images, make_encoder, modules_of
from synthgap.errors import UserError
from synthgap.hub import origin
from synthgap.job import command, count, facts, input_path, json_object, log, output_path, run
from synthgap.progress import Progress

# Images a chunk: what is in memory (twice), what a kill costs at most, and a file of the cache.
CHUNK = 256


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--images", type=input_path, nargs="+", required=True, help="tars, folders")
    parser.add_argument(
        "--encoder", type=encoder, required=True, help="options as JSON, or a built-in name"
    )
    parser.add_argument("--model", type=input_path, required=True, help="its folder or file")
    parser.add_argument("--threads", type=count, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--cache", type=Path, help="folder of features by content, kept for others")
    parser.add_argument(
        "--features", type=output_path, required=True, help=".parquet; facts come beside it"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    for path in args.images:
        if args.features.resolve() == path.with_suffix(".parquet").resolve():
            raise UserError(
                f"--features {args.features} is where a shard has its own rows, beside {path}; "
                "write to another folder"
            )
    total = count_readable([path for path in args.images if is_shard(path)])
    device = take_device(args.gpus)
    torch.set_num_threads(args.threads)
    encoder = make_encoder(args.encoder, model=args.model, device=device)
    store = args.encoder.get("store", "float32")
    cache, cached, done = None, 0, 0
    if args.cache:
        # Code shapes features as weights do.
        code = code_digest("extract_features", *modules_of(args.encoder))
        cache = FeatureCache(args.cache, encoder.identity | {"code": code}, store)

    # Where the network is on the CPU, it needs the threads itself.
    threads = 1 if device == "cpu" else args.threads
    started = time.monotonic()
    with (
        ThreadPoolExecutor(threads) as pool,
        Progress(total, "images") as progress,
        FeatureWriter(args.features, encoder.identity) as writer,
    ):
        for chunk in ahead(args.images, encoder, cache, pool):
            keys = [sample.key for sample in chunk.samples]
            classes = [(sample.class_index, sample.class_name) for sample in chunk.samples]
            done += len(keys)
            if chunk.known is not None:
                writer.write(keys, classes, chunk.digests, chunk.known)
                cached += len(keys)
            else:
                images = [image.result() for image in chunk.images]
                features = stored(encoder.encode_prepared(images), store)
                writer.write(keys, classes, chunk.digests, features)  # which refuses NaN
                if cache:
                    cache.put(chunk.digests, features)
            progress.update(len(keys))
        if cached:
            log.info("%d of %d images were in the cache", cached, done)
        told = facts(
            args,
            time.monotonic() - started,
            done,
            device,
            cached=cached,
            identity=encoder.identity,
            encoder_model=origin(args.model),
        )
        write_text(args.features.with_suffix(".json"), json.dumps(told, indent=1) + "\n")


@dataclass
class Chunk:
    """Some images of a shard: their features where they are known, or the images to come."""

    samples: list[Sample]
    digests: list[str]
    known: Values | None = None
    images: list[Future[Images]] = field(default_factory=list)


def ahead(
    tars: list[Path], encoder: Encoder, cache: FeatureCache | None, pool: ThreadPoolExecutor
) -> Iterator[Chunk]:
    """Yield the chunks of some shards, each when the next one's images are being decoded."""
    waiting = None
    for tar in tars:
        for samples, contents in chunks_of(tar):
            chunk = Chunk(samples, [hashlib.sha256(content).hexdigest() for content in contents])
            chunk.known = cache.get(chunk.digests) if cache else None
            if chunk.known is None:
                chunk.images = [
                    pool.submit(prepared, tar, sample, content, encoder)
                    for sample, content in zip(samples, contents, strict=True)
                ]
            if waiting:
                yield waiting
            waiting = chunk
    if waiting:
        yield waiting


def chunks_of(path: Path) -> Iterator[tuple[list[Sample], list[bytes]]]:
    """Yield the images of a path, a chunk at a time; only shards know of classes."""
    if is_shard(path):
        yield from read_shard(path, CHUNK)
        return
    found = read_encoded(path)
    while chunk := list(itertools.islice(found, CHUNK)):
        samples = [Sample(key, UNKNOWN_CLASS, "") for key, _, _ in chunk]
        yield samples, [content for _, _, content in chunk]


def encoder(text: str) -> dict[str, Any]:
    """Option type: an encoder's options as JSON, or the name of a built-in one."""
    if text.lstrip().startswith("{"):
        return json_object(text)
    # By a computed name, as a list of names is no code that shapes features.
    section = importlib.import_module("synthgap.config.encoders").PretrainedEncoder
    try:
        options: dict[str, Any] = section(kind="pretrained", model=text).options()
    except ValueError as error:
        [problem, *_] = error.errors()  # type: ignore[attr-defined]
        raise UserError(f"--encoder: {problem['msg'].removeprefix('Value error, ')}") from error
    return options


def prepared(tar: Path, sample: Sample, content: bytes, encoder: Encoder) -> Images:
    """Return one image as the encoder takes it."""
    try:
        image = decode(content)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{tar}: {sample.key} is damaged, or no image ({error})") from error
    return encoder.prepare(image)


if __name__ == "__main__":
    run(options(), main)
