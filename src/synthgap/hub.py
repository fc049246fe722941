"""Models fetched from the Hugging Face hub, so that everything later runs offline."""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synthgap.errors import UserError, suggest

if TYPE_CHECKING:  # the hub's own library takes a while to import, and `slug` does without it
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

log = logging.getLogger("synthgap")

Layout = Literal["pipeline", "model"]
# The file that says what a folder holds: of diffusers, a folder a component; of transformers, one.
INDEX = {"pipeline": "model_index.json", "model": "config.json"}
WANTED = {"pipeline": "diffusers pipeline", "model": "model of transformers"}
# What a component needs beside its weights: configurations, vocabularies, chat templates.
TEXTS = {".bpe", ".jinja", ".json", ".model", ".spm", ".tiktoken", ".txt", ".vocab"}
# The only names of weights that diffusers and transformers look for.
WEIGHTS = {"diffusion_pytorch_model", "model"}
SHARD = re.compile(r"-\d{5}-of-\d{5}")
OTHER_WEIGHTS = re.compile(r"(\w+_)?model\b.*\.(bin|ckpt|pt|pth|msgpack|h5|onnx)")


def is_folder(model: str) -> bool:
    """Whether a model's name is a local folder; a hub id is `organisation/name`."""
    return model.startswith(("/", "./", "../", "~")) or Path(model).is_dir()


def slug(model: str, revision: str | None) -> str:
    """Return a name for the model's folder: letters, digits, `.`, `_` and `-` only."""
    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        revision = revision[:8]
    parts = [*model.split("/"), *([revision] if revision else [])]
    return "--".join(re.sub(r"[^A-Za-z0-9._-]", "-", part) for part in parts)


@dataclass(frozen=True)
class HubModel:
    """What is to be downloaded: hub id, revision, variant of the weights, and layout."""

    model: str
    revision: str | None = None
    variant: str | None = None
    trust_remote_code: bool = False
    layout: Layout = "pipeline"

    @property
    def name(self) -> str:
        """Name of its folder."""
        variant = f"--{self.variant}" if self.variant else ""
        return slug(self.model, self.revision) + variant + "--code" * self.trust_remote_code

    @property
    def label(self) -> str:
        """What people call it."""
        return " ".join(part for part in (self.model, self.variant) if part)


def origin(folder: Path) -> str:
    """Return where a pipeline folder comes from: hub id and commit where it was downloaded."""
    facts = folder.with_name(f"{folder.name}.json")
    if not facts.exists():
        return str(folder)
    known = json.loads(facts.read_text())
    return f"{known['model']}@{known['commit']}"


def check_access(
    model: str,
    revision: str | None,
    *,
    layout: Layout = "pipeline",
    endpoint: str | None = None,
) -> dict[str, Any]:
    """Ask the hub whether a model may be downloaded, in a second and without doing so.

    Returns:
        `model`, `commit` and `gated`.

    Raises:
        UserError: no such model, no access to it, no network, or not of that layout.
    """
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    with _plain_errors(model, revision, Path(), endpoint):
        info = HfApi(endpoint).model_info(model, revision=revision)
        _require_index(model, layout, {file.rfilename for file in info.siblings or ()})
        # Everyone may read a gated model's description; a file needs access.
        url = hf_hub_url(model, INDEX[layout], revision=info.sha, endpoint=endpoint)
        get_hf_file_metadata(url)
    return {"model": model, "commit": info.sha, "gated": info.gated or False}


def download_model(
    model: str,
    revision: str | None,
    variant: str | None,
    folder: Path,
    *,
    layout: Layout = "pipeline",
    trust_remote_code: bool = False,
    endpoint: str | None = None,
) -> dict[str, Any]:
    """Download the files that make `model` a folder to load, and no others, to `folder`.

    Called again after an interruption, it goes on after the last whole file. Access is checked, and
    what to take is decided, before any weights are asked for; each file is compared with the size
    and the hash that the hub tells.

    Args:
        model: the hub's id, such as `stabilityai/sdxl-turbo`.
        revision: a branch, tag or commit; None for the main branch.
        variant: of the weights, such as `fp16`; a component without it gives its plain weights.
        folder: belongs to this download alone: other files in it are removed.
        layout: `pipeline` for diffusers, `model` for a single model of transformers.
        trust_remote_code: also take, for later jobs to run, Python code that the model brings.
        endpoint: the hub's address; None for `HF_ENDPOINT`, or else https://huggingface.co.

    Returns:
        `model`, `commit`, `license`, `gated`, `bytes` and `files`: name -> `bytes`, `sha256`.

    Raises:
        UserError: no such model, no access to it, no network, or not one that can be used.
    """
    from huggingface_hub import HfApi

    with _plain_errors(model, revision, folder, endpoint):
        info = HfApi(endpoint).model_info(model, revision=revision, files_metadata=True)
        repo = {file.rfilename: file for file in info.siblings or ()}
        _require_index(model, layout, repo)
        for unusable in (folder / ".cache").rglob("*.incomplete"):  # left by SIGKILL
            unusable.unlink()
        where = {"repo_id": model, "revision": info.sha, "local_dir": folder, "endpoint": endpoint}
        # The hub lists a gated model's files to everyone; whether we may have them, only one tells.
        name = INDEX[layout]
        files = {name: _fetch(repo[name], **where)}
        index = json.loads((folder / name).read_text()) if layout == "pipeline" else None
        names = _pick(model, index, sorted(repo), variant, trust_remote_code)
        names = [other for other in names if other != name]
        sizes = {name: repo[name].size or 0 for name in names}
        missing = sum(size for name, size in sizes.items() if not (folder / name).is_file())
        if missing > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        log.info("%s at %s: %.2f GB to come", model, info.sha, missing / 1e9)
        for number, name in enumerate(sorted(names, key=sizes.__getitem__), 1):
            log.info("%d of %d files: %s, %.3f GB", number, len(names), name, sizes[name] / 1e9)
            files[name] = _fetch(repo[name], **where)
    shutil.rmtree(folder / ".cache")
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink()  # of another commit
    return {
        "model": model,
        "commit": info.sha,
        "license": _license(info),
        "gated": info.gated or False,
        "bytes": sum(facts["bytes"] for facts in files.values()),
        "files": dict(sorted(files.items())),
    }


def _require_index(model: str, layout: Layout, names: Container[str]) -> None:
    if INDEX[layout] not in names:
        raise UserError(
            f"{model} is no {WANTED[layout]}: it has no {INDEX[layout]}; give another model"
        )


def _pick(
    model: str, index: dict[str, Any] | None, names: list[str], variant: str | None, code: bool
) -> list[str]:
    """Return those of a repository's file names that its components need.

    index: of a pipeline; None where the repository itself is the one component.
    """
    components, custom = _components(model, index, names, code) if index is not None else ([""], [])
    picked, variants = [name for name in custom if "/" not in name], set()
    for component in components:
        files = [Path(name) for name in names if Path(name).parent == Path(component)]
        if not files:
            raise UserError(f"{model}: its index names `{component}`, but there is no such folder")
        where = f"`{component}`" if component else "it"
        weights: dict[str | None, list[Path]] = {}
        for file in files:
            stem, *rest = SHARD.sub("", file.name).split(".")
            if "safetensors" in rest and stem in WEIGHTS:
                tags = [part for part in rest if part not in ("safetensors", "index", "json")]
                weights.setdefault(".".join(tags) or None, []).append(file)
            elif (file.suffix in TEXTS and "index" not in rest) or (code and file.suffix == ".py"):
                picked.append(str(file))
        chosen = weights.get(variant) or weights.get(None) or []
        if not chosen and weights:
            raise UserError(
                f"{model}: {where} has weights only of the variants "
                f"{', '.join(map(str, weights))}; set `variant` to one of them"
            )
        other = [file.name for file in files if OTHER_WEIGHTS.fullmatch(file.name)]
        if not chosen and other:
            raise UserError(
                f"{model}: {where} has no safetensors weights but {other[0]}, and only "
                "safetensors are loaded, as other formats can run code"
            )
        # Where there are both one file and its shards, the file will do.
        whole = [f for f in chosen if f.suffix == ".safetensors" and not SHARD.search(f.name)]
        picked += map(str, whole or chosen)
        variants |= {found for found in weights if found}
    if variant and variant not in variants:
        raise UserError(f"{model} has no variant `{variant}`{suggest(variant, sorted(variants))}")
    return picked


def _components(
    model: str, index: dict[str, Any], names: list[str], code: bool
) -> tuple[list[str], list[str]]:
    """Return the components of a pipeline, and the files with Python code of its own."""
    lists = {key: entry for key, entry in index.items() if isinstance(entry, list)}
    components = {key: e[0] for key, e in lists.items() if e and e[0] and not key.startswith("_")}
    needed_code = [f"{name}/{module}.py" for name, module in components.items()]
    if "_class_name" in lists:
        needed_code.append(f"{index['_class_name'][0]}.py")
    custom = [name for name in needed_code if name in names]
    if custom and not code:
        raise UserError(
            f"{model} brings Python code of its own ({', '.join(custom)}), which is not run unless "
            "`trust_remote_code: true` says so; read the code before"
        )
    return list(components), custom


def _fetch(announced: "RepoSibling", **where: Any) -> dict[str, Any]:
    """Download one file, unless it is there; return its size and hash, both found right."""
    from huggingface_hub import hf_hub_download

    for force in (False, True):  # once more, past all caches, if what arrived is wrong
        path = Path(hf_hub_download(filename=announced.rfilename, force_download=force, **where))
        size = path.stat().st_size
        # The hub knows large files by their SHA-256 and the others by their git hash.
        sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha256.update(block)
                if not announced.lfs:
                    git.update(block)
        found, expected = git.hexdigest(), announced.blob_id
        if announced.lfs:
            found, expected = sha256.hexdigest(), announced.lfs.sha256
        if announced.size in (None, size) and expected in (None, found):
            return {"bytes": size, "sha256": sha256.hexdigest()}
        log.warning("%s: %d bytes, hash %s, expected %s", path, size, found, expected)
    path.unlink()
    raise UserError(
        f"{where['repo_id']}: {announced.rfilename} arrived twice with a wrong size or hash; run "
        "again later, or look for a proxy or mirror that changes what passes"
    )


def _license(info: "ModelInfo") -> str | None:
    card = info.card_data
    named = (card.get("license_name") or card.get("license")) if card else None
    return str(named) if named else None


@contextmanager
def _plain_errors(
    model: str, revision: str | None, folder: Path, endpoint: str | None
) -> Iterator[None]:
    """Turn what goes wrong into one sentence that says what to do, and that tells no token."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # The Xet part of the hub's library tells of a full disk in words only.
        if not isinstance(error, OSError) and "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        if message := _explain(error, model, revision, endpoint):
            raise UserError(message) from error
        raise


def _explain(error: BaseException, model: str, revision: str | None, endpoint: str | None) -> str:
    """Return what to tell about an error of the hub's library, or "" if it is not known."""
    import httpx2
    from huggingface_hub import constants, errors, get_token

    while isinstance(error, errors.LocalEntryNotFoundError | ValueError) and error.__cause__:
        error = error.__cause__  # what the library wraps when it also finds no local copy
    host = (endpoint or constants.ENDPOINT).split("//")[-1].rpartition("@")[2]
    page = f"https://huggingface.co/{model}"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    broke_off = f"the download of {model} from {host} broke off"
    go_on = "; run the same command again to go on after the last whole file"
    if isinstance(error, errors.OfflineModeIsEnabled):
        advice = "unset it for this job, or give a local folder as `model`"
        return f"{model}: no download while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set; {advice}"
    if isinstance(error, errors.HFValidationError):
        return f"`{model}` is no model id; write it as on the hub, `owner/name`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{model} has no branch, tag or commit `{revision}`; see {page}/commits/main"
    if isinstance(error, errors.GatedRepoError) or status == 403:
        advice = "and set the environment variable HF_TOKEN to a token of your account"
        if get_token():
            advice = "with the account of HF_TOKEN (or `hf auth login`): it is set but lacks access"
        return f"{model} is gated; accept its terms at {page} {advice}"
    if isinstance(error, errors.RepositoryNotFoundError):
        advice = "if it is private, set the environment variable HF_TOKEN to a token of yours"
        return f"{host} has no model {model}; did you spell it as on its page? {advice}"
    if status == 401:
        return f"{host} refuses HF_TOKEN (or the token of `hf auth login`); renew or unset it"
    if status:
        return f"{broke_off} (HTTP status {status}){go_on}"
    if isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.ProtocolError):
        return (
            f"no connection to {host} for {model} ({str(error) or type(error).__name__}); run this "
            "on a machine with network, set HF_ENDPOINT to a mirror, or give a local folder as "
            "`model`; files that have arrived are kept"
        )
    if isinstance(error, json.JSONDecodeError | errors.FileMetadataError):
        return f"{host} does not answer as a hub would; look at HF_ENDPOINT and the proxy settings"
    if isinstance(error, RuntimeError):  # of the Xet part; it may quote a signed address
        said = re.sub(r"\?\S*|\s+", " ", str(error))
        return f"{broke_off} ({said}; HF_HUB_DISABLE_XET=1 does without Xet){go_on}"
    if isinstance(error, httpx2.HTTPError):  # a protocol error would quote the token
        return f"{broke_off} ({type(error).__name__}){go_on}"
    return f"{broke_off} (a wrong size){go_on}" if "Consistency check" in str(error) else ""
