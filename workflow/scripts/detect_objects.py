"""Judge GenEval's images: Mask2Former finds objects, CLIP tells their colours, rules decide.

It runs in `envs/geneval.yaml`, which holds neither synthgap nor what it needs: this file and what
it imports of synthgap get by with that environment and Python 3.9. The rules are read from the
source tree that this file lies in. Killed, it goes on after the last finished prompt.

  python workflow/scripts/detect_objects.py --folder layout/ --checkpoint mask2former...pth \\
      --results results.jsonl
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthgap.compositional.geneval_rules import Found

log = logging.getLogger("detect_objects")
SOURCE = Path(__file__).resolve().parents[2] / "src"
CONFIG = "mask2former/mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.py"
CLASSES = 80  # of COCO
BATCH_SIZE = 16
DEVICES = ("cpu", "cuda")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="from lay_out_benchmark")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the detector's weights")
    parser.add_argument("--config", type=Path, help="the detector's; default: mmdet's own")
    parser.add_argument("--clip-folder", type=Path, help="holds ViT-L-14.pt, where no network is")
    parser.add_argument("--gpus", type=int, choices=[0, 1], default=1, help="0: on the CPU")
    parser.add_argument("--results", type=Path, required=True, help=".jsonl")
    parser.add_argument("--log", type=Path)
    return parser


def main(args: argparse.Namespace) -> None:
    sys.path.insert(0, str(SOURCE))
    from synthgap.compositional.geneval_rules import Rules, judge, select
    from synthgap.compositional.resuming import LineFile

    folders = sorted(f for f in args.folder.iterdir() if f.is_dir() and f.name.isdigit())
    if not folders:
        sys.exit(f"error: {args.folder} holds no folder of a prompt, such as 00000")
    rules = Rules()
    settings = {
        "checkpoint": state(args.checkpoint),
        "config": str(args.config),
        "images": state_of_images(args.folder),
        "rules": vars(rules),
        "gpus": args.gpus,
    }
    with LineFile(args.results, settings) as results:
        todo = [folder for folder in folders if folder.name not in results.done]
        log.info("%d of %d prompts to do", len(todo), len(folders))
        if todo:
            detector = Detector(args)
            colours = Colours(args)
        for number, folder in enumerate(todo):
            metadata = json.loads((folder / "metadata.jsonl").read_text())
            detector.check_names(metadata, folder)
            records = []
            for path in sorted((folder / "samples").glob("*.png")):
                boxes, masks = detector.find(path)
                found = select(boxes, masks, metadata["tag"], rules)
                correct, reason = judge(found, metadata, colours.of(path), rules)
                records.append(
                    {
                        "filename": str(path),
                        "tag": metadata["tag"],
                        "prompt": metadata["prompt"],
                        "correct": correct,
                        "reason": reason,
                        "metadata": json.dumps(metadata),
                        "details": json.dumps(
                            {
                                name: [[*one.box, one.score] for one in f]
                                for name, f in found.items()
                            }
                        ),
                    }
                )
            results.add(folder.name, records)
            if number % 50 == 0:
                log.info("%d of %d prompts", number + 1, len(todo))
        results.finish([folder.name for folder in folders])
    log.info("wrote %s", args.results)


class Detector:
    """Mask2Former with a Swin-S backbone, trained on COCO, as mmdet 2.x runs it."""

    def __init__(self, args: argparse.Namespace) -> None:
        import torch

        from synthgap.compositional.geneval_rules import RENAMED

        # By name, as type checkers outside the environment know nothing of it.
        mmdet, apis = import_module("mmdet"), import_module("mmdet.apis")
        if not mmdet.__version__.startswith("2."):
            sys.exit(f"error: mmdet {mmdet.__version__}; its API and names are those of 2.x only")
        self._run = apis.inference_detector
        config = args.config or default_config(Path(str(mmdet.__file__)).parent)
        self._model = apis.init_detector(
            str(config), str(args.checkpoint), device=DEVICES[args.gpus]
        )
        # mmcv only warns where weights do not fit, and the detector then finds nothing at all.
        weights = torch.load(str(args.checkpoint), map_location="cpu")["state_dict"]
        if missing := self._model.state_dict().keys() - weights.keys():
            sys.exit(
                f"error: {args.checkpoint} has no {min(missing)}, one of {len(missing)} weights "
                f"that {config} needs; take the checkpoint of mmdet 2.x, not that of 3.x"
            )
        self.names = [RENAMED.get(name, name) for name in self._model.CLASSES]
        if len(self.names) != CLASSES:
            sys.exit(
                f"error: {args.checkpoint} knows {len(self.names)} classes, not COCO's {CLASSES}"
            )

    def check_names(self, metadata: dict[str, Any], folder: Path) -> None:
        """Refuse prompts for objects that the detector does not know: they would always fail."""
        for clause in [*metadata["include"], *metadata.get("exclude", [])]:
            if clause["class"] not in self.names:
                sys.exit(f"error: {folder}: the detector knows no `{clause['class']}`")

    def find(self, path: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return boxes with confidence, (n, 5), and masks, by class."""
        found = self._run(self._model, str(path))
        boxes, masks = found if isinstance(found, tuple) else (found, None)
        by_name = {name: boxes[i] for i, name in enumerate(self.names)}
        if masks is None:
            return by_name, None
        return by_name, {name: masks[i] for i, name in enumerate(self.names)}


def default_config(package: Path) -> Path:
    """Return where mmdet's wheel, or its source tree, has the detector's config."""
    places = [package / ".mim" / "configs" / CONFIG, package.parent / "configs" / CONFIG]
    for place in places:
        if place.exists():
            return place
    sys.exit(f"error: mmdet has no {CONFIG}; get its configs and name the file with --config")


class Colours:
    """CLIP ViT-L/14 of OpenAI: which colour word suits the crop of an object best?"""

    def __init__(self, args: argparse.Namespace) -> None:
        open_clip = import_module("open_clip")
        folder = None if args.clip_folder is None else str(args.clip_folder)
        self._model, _, self._transform = open_clip.create_model_and_transforms(
            "ViT-L-14", pretrained="openai", device=DEVICES[args.gpus], cache_dir=folder
        )
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer("ViT-L-14")
        self._device = DEVICES[args.gpus]
        self._texts: dict[str, Any] = {}

    def of(self, path: Path) -> Any:
        """Return the function that tells the colours of an image's objects, for `judge`."""

        def colours_of(name: str, objects: Sequence[Found]) -> list[str]:
            import torch
            from PIL import Image, ImageOps

            from synthgap.compositional.geneval_rules import COLOURS

            whole = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            crops = [self._transform(crop(whole, one)) for one in objects]
            chosen: list[str] = []
            with torch.no_grad(), self._mixed():
                texts = self._colours_as(name)
                for start in range(0, len(crops), BATCH_SIZE):
                    batch = torch.stack(crops[start : start + BATCH_SIZE]).to(self._device)
                    features = torch.nn.functional.normalize(
                        self._model.encode_image(batch), dim=-1
                    )
                    best = (features @ texts.T).float().argmax(dim=1)
                    chosen += [COLOURS[i] for i in best.tolist()]
            return chosen

        return colours_of

    def _mixed(self) -> Any:
        """Half precision where the reference has it: on a GPU."""
        import torch

        return torch.autocast("cuda", enabled=self._device.startswith("cuda"))

    def _colours_as(self, name: str) -> Any:
        """Return one unit vector a colour, (10, features): the mean over the templates."""
        import torch

        from synthgap.compositional.geneval_rules import COLOUR_TEMPLATES, COLOURS

        if name not in self._texts:
            rows = []
            for colour in COLOURS:
                texts = [template.format(c=colour, name=name) for template in COLOUR_TEMPLATES]
                encoded = self._model.encode_text(self._tokenizer(texts).to(self._device))
                mean = torch.nn.functional.normalize(encoded, dim=-1).mean(dim=0)
                rows.append(mean / mean.norm())
            self._texts[name] = torch.stack(rows)
        return self._texts[name]


def crop(image: Any, one: Found) -> Any:
    """Return an object's box with grey around its mask; the whole box where there is no mask."""
    from PIL import Image

    from synthgap.compositional.geneval_rules import BACKGROUND

    if one.mask is not None:
        blank = Image.new("RGB", image.size, color=BACKGROUND)
        image = Image.composite(image, blank, Image.fromarray(one.mask.astype("uint8") * 255))
    return image.crop(one.box)


def state(path: Path) -> list[Any]:
    """Return what tells whether a file is still the same."""
    found = path.stat()
    return [path.name, found.st_size, found.st_mtime_ns]


def state_of_images(folder: Path) -> list[Any]:
    """Return what tells whether a layout is still the same: it appears whole, by a renaming."""
    return [*state(folder), sum(1 for _ in folder.glob("*/samples/*.png"))]


def begin(args: argparse.Namespace) -> None:
    """Log to the terminal, and to a file where one is named."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if args.log:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(args.log, mode="w"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)


if __name__ == "__main__":
    arguments = options().parse_args()
    begin(arguments)
    main(arguments)
