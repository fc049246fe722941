"""Downloading a pipeline: from a real HTTP server on this machine that speaks as the hub does."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fake_hub import COMMIT, FakeHub, Repo
from synthgap import hub as synthgap_hub
from synthgap.errors import UserError
from synthgap.hub import check_access, download_model, slug

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "download_model.py"
MODEL = "lab/tiny"
UNET = "unet/diffusion_pytorch_model"
TEXT = {
    "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
    "tokenizer/merges.txt", "tokenizer/chat_template.jinja", "tokenizer/tokenizer.model",
    "unet/config.json",
}  # fmt: skip
PLAIN = {f"{UNET}.safetensors", "text_encoder/model.safetensors"}
NEVER = {
    "README.md", "tiny.safetensors", "tiny.ckpt", "picture.png", "setup.py", f"{UNET}.bin",
    "text_encoder/pytorch_model.bin", "text_encoder/flax_model.msgpack", "text_encoder/model.onnx",
    "text_encoder/pytorch_model.bin.index.json", f"{UNET}.non_ema.safetensors", "unet/notes.py",
    "vae_old/config.json", "vae_old/diffusion_pytorch_model.safetensors",
}  # fmt: skip
FP16_SHARDS = {
    "transformers'": {
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.fp16.json",
    },
    "the older": {
        "text_encoder/model-00001-of-00002.fp16.safetensors",
        "text_encoder/model-00002-of-00002.fp16.safetensors",
        "text_encoder/model.fp16.safetensors.index.json",
    },
}


@pytest.fixture(autouse=True)
def stranger(monkeypatch, tmp_path):
    """No token, no cache and no settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))  # of commands
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def repo(tmp_path):
    """A repository as many are: three components, in several formats, with more around them."""
    folder = tmp_path / "repo"
    for name in TEXT | PLAIN | NEVER:
        add(folder, name)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "force_zeros": True,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return Repo(folder)


def add(folder, name, content=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if content is not None else f"this is {name}".encode())


def change_index(repo, **entries):
    path = repo.folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def download(hub, folder, variant=None, revision=None, model=MODEL, **options):
    folder.mkdir(exist_ok=True)
    return download_model(model, revision, variant, folder, endpoint=hub.endpoint, **options)


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(*args, **options):
    """Return the one sentence with which a download is refused."""
    with pytest.raises(UserError) as caught:
        download(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def weights_asked(hub):
    return [path for _, path, _ in hub.requests if path.endswith((".safetensors", ".bin", ".ckpt"))]


def test_takes_the_files_of_the_components_and_tells_their_facts(repo, tmp_path):
    with FakeHub(lab__tiny=repo) as hub:
        facts = download(hub, tmp_path / "out")
    files = content(tmp_path / "out")
    assert files.keys() == TEXT | PLAIN
    assert all(files[name] == (repo.folder / name).read_bytes() for name in files)
    assert facts == {
        "model": MODEL,
        "commit": COMMIT,
        "license": "mit",
        "gated": False,
        "bytes": sum(map(len, files.values())),
        "files": {
            name: {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
            for name, file in files.items()
        },
    }
    assert list(facts["files"]) == sorted(files)


def test_takes_a_variant_where_there_is_one(repo, tmp_path):
    add(repo.folder, f"{UNET}.fp16.safetensors")
    add(repo.folder, f"{UNET}.fp16.bin")
    with FakeHub(lab__tiny=repo) as hub:
        download(hub, tmp_path / "fp16", "fp16")
        download(hub, tmp_path / "plain")
    variant = {f"{UNET}.fp16.safetensors", "text_encoder/model.safetensors"}
    assert content(tmp_path / "fp16").keys() == TEXT | variant
    assert content(tmp_path / "plain").keys() == TEXT | PLAIN


@pytest.mark.parametrize("naming", FP16_SHARDS)
def test_takes_shards_of_a_variant_and_their_index(naming, repo, tmp_path):
    shards = FP16_SHARDS[naming]
    plain = {
        f"{UNET}-00001-of-00002.safetensors", f"{UNET}-00002-of-00002.safetensors",
        f"{UNET}.safetensors.index.json",
    }  # fmt: skip
    for name in shards | plain:
        add(repo.folder, name)
    with FakeHub(lab__tiny=repo) as hub:
        download(hub, tmp_path / "whole", "fp16")
        (repo.folder / f"{UNET}.safetensors").unlink()
        download(hub, tmp_path / "shards", "fp16")
    # One file is preferred to its shards.
    assert content(tmp_path / "whole").keys() == TEXT | shards | {f"{UNET}.safetensors"}
    assert content(tmp_path / "shards").keys() == TEXT | shards | plain


def test_variant_that_is_nowhere_or_needed_is_told(repo, tmp_path):
    with FakeHub(lab__tiny=repo) as hub:
        message = refusal(hub, tmp_path / "out", "fp16")
        assert message == "lab/tiny has no variant `fp16`; known: non_ema"
        (repo.folder / f"{UNET}.safetensors").rename(repo.folder / f"{UNET}.fp16.safetensors")
        message = refusal(hub, tmp_path / "out")
        assert "`unet` has weights only of the variants" in message
        assert "fp16" in message
        assert not weights_asked(hub)


def test_other_formats_are_refused(repo, tmp_path):
    (repo.folder / f"{UNET}.safetensors").unlink()
    (repo.folder / f"{UNET}.non_ema.safetensors").unlink()
    with FakeHub(lab__tiny=repo) as hub:
        message = refusal(hub, tmp_path / "out")
        assert "`unet` has no safetensors weights but diffusion_pytorch_model.bin" in message
        assert "only safetensors are loaded" in message
        assert not weights_asked(hub)


def test_code_of_the_model_needs_trust(repo, tmp_path):
    change_index(repo, unet=["my_unet", "MyUNet"], _class_name=["pipeline", "MyPipeline"])
    code = {"unet/my_unet.py", "unet/notes.py", "pipeline.py"}
    for name in code:
        add(repo.folder, name)
    with FakeHub(lab__tiny=repo) as hub:
        message = refusal(hub, tmp_path / "out")
        assert "unet/my_unet.py, pipeline.py" in message
        assert "`trust_remote_code: true`" in message
        assert not weights_asked(hub)
        download(hub, tmp_path / "out", trust_remote_code=True)
    assert content(tmp_path / "out").keys() == TEXT | PLAIN | code


def test_missing_component_and_missing_index_are_told(repo, tmp_path):
    change_index(repo, vae=["diffusers", "AutoencoderKL"])
    with FakeHub(lab__tiny=repo) as hub:
        assert "names `vae`, but there is no such folder" in refusal(hub, tmp_path / "out")
        (repo.folder / "model_index.json").unlink()
        assert "lab/tiny is no diffusers pipeline" in refusal(hub, tmp_path / "out")


def test_gated_without_token_says_what_to_do(repo, tmp_path):
    repo.gated = "auto"
    with FakeHub(lab__tiny=repo) as hub:
        message = refusal(hub, tmp_path / "out")
        assert "https://huggingface.co/lab/tiny" in message
        assert "set the environment variable HF_TOKEN" in message
        assert not weights_asked(hub)


def test_access_is_checked_without_fetching_a_file(repo, tmp_path, monkeypatch):
    repo.gated = "manual"
    with FakeHub(lab__tiny=repo) as hub:
        hub.tokens.add("hf_mine")
        with pytest.raises(UserError, match="accept its terms at https://huggingface"):
            synthgap_hub.check_access("lab/tiny", None, endpoint=hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        found = synthgap_hub.check_access("lab/tiny", None, endpoint=hub.endpoint)
        assert found == {"model": "lab/tiny", "commit": repo.commit, "gated": "manual"}
        assert not [
            path for method, path, _ in hub.requests if method == "GET" and "resolve" in path
        ]


def test_gated_with_a_token_without_access_says_so(repo, tmp_path, monkeypatch):
    repo.gated = "manual"
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with FakeHub(lab__tiny=repo) as hub:
        message = refusal(hub, tmp_path / "out")
        assert "https://huggingface.co/lab/tiny" in message
        assert "it is set but lacks access" in message
        assert "hf_stranger" not in message
        assert not weights_asked(hub)


def test_gated_with_a_token_passes_and_keeps_the_token_to_the_hub(repo, tmp_path):
    repo.gated, repo.card = "auto", {"license": "other", "license_name": "tiny-community"}
    with FakeHub(lab__tiny=repo) as hub:
        hub.tokens.add("hf_secret")
        done = run(hub, tmp_path, HF_TOKEN="hf_secret")
        assert done.returncode == 0, done.stderr
        to_storage = [token for _, path, token in hub.requests if path.startswith("/storage")]
        assert to_storage == [None, None]  # another host
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["gated"] == "auto"
    assert facts["license"] == "tiny-community"
    assert "hf_secret" not in done.stderr + done.stdout
    written = [*content(tmp_path / "pipeline").values(), (tmp_path / "log").read_bytes()]
    assert not any(b"hf_secret" in file for file in [*written, json.dumps(facts).encode()])


def test_unknown_repo_revision_and_bad_name_are_told(repo, tmp_path, monkeypatch):
    with FakeHub(lab__tiny=repo) as hub:
        for token in ("", "hf_mine"):
            monkeypatch.setenv("HF_TOKEN", token)
            message = refusal(hub, tmp_path / "out", model="lab/tinny")
            assert "has no model lab/tinny; did you spell it" in message
        message = refusal(hub, tmp_path / "out", revision="v2")
        assert "lab/tiny has no branch, tag or commit `v2`" in message
        message = refusal(hub, tmp_path / "out", model="lab/tiny/unet")
        assert "`lab/tiny/unet` is no model id" in message


def test_expired_token_is_told(repo, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with FakeHub(lab__tiny=repo) as hub:
        message = refusal(hub, tmp_path / "out")
        assert "refuses HF_TOKEN" in message
        assert "hf_expired" not in message


def test_no_network_is_told(tmp_path):
    hub = FakeHub()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        hub.endpoint = f"http://user:hf_secret@127.0.0.1:{free.getsockname()[1]}"
    message = refusal(hub, tmp_path / "out")
    assert message.startswith(f"no connection to {hub.endpoint.split('@')[1]} for lab/tiny")
    assert "machine with network" in message
    assert "HF_ENDPOINT" in message
    assert "hf_secret" not in message


def test_address_of_no_hub_is_told(repo, tmp_path):
    with FakeHub(lab__tiny=repo) as hub:
        hub.broken = {"/api/models/lab/tiny": b"<html>Please log in to the Wi-Fi</html>"}
        assert "does not answer as a hub would; look at HF_ENDPOINT" in refusal(
            hub, tmp_path / "out"
        )
        hub.broken = {"/api/models/lab/tiny": b""}
        assert "broke off (HTTP status 503); run the same" in refusal(hub, tmp_path / "out")
        hub.endpoint = "localhost:80"  # without http://
        assert "no connection to localhost:80" in refusal(hub, tmp_path / "out")


def test_offline_setting_is_told(repo, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with FakeHub(lab__tiny=repo) as hub:
        assert "HF_HUB_OFFLINE" in refusal(hub, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_full_disk_stays_an_error_of_the_system_and_xet_is_understood(repo, tmp_path, monkeypatch):
    with FakeHub(lab__tiny=repo) as hub:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
        with pytest.raises(OSError, match="No space left") as caught:
            download(hub, tmp_path / "out")
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(tmp_path / "out")
        assert not weights_asked(hub)
        monkeypatch.undo()

        words = ""

        def told_by_xet(**_):
            raise RuntimeError(words)

        monkeypatch.setattr("huggingface_hub.hf_hub_download", told_by_xet)
        words = "CAS Client Error: error sending request for url (http://cas/a?signature=hf_secret)"
        message = refusal(hub, tmp_path / "out")
        assert "CAS Client Error" in message
        assert "HF_HUB_DISABLE_XET=1" in message
        assert "hf_secret" not in message
        words = "IO error: No space left on device (os error 28)"
        with pytest.raises(OSError, match="No space left") as caught:
            download(hub, tmp_path / "out")
        assert caught.value.errno == errno.ENOSPC


def test_dropped_connection_goes_on_within_the_file(repo, tmp_path):
    add(repo.folder, f"{UNET}.safetensors", os.urandom(12_000_000))  # the library's block is 10 MB
    with FakeHub(lab__tiny=repo) as hub:
        hub.cut[f"{UNET}.safetensors"] = 11_000_000
        download(hub, tmp_path / "out")
        ((file, start),) = hub.ranges
        assert file == f"{UNET}.safetensors"
        assert start >= 10_000_000
    assert (
        content(tmp_path / "out")[f"{UNET}.safetensors"]
        == (repo.folder / f"{UNET}.safetensors").read_bytes()
    )


def test_damaged_file_is_fetched_again_and_then_refused(repo, tmp_path):
    with FakeHub(lab__tiny=repo) as hub:
        hub.damaged = {f"{UNET}.safetensors": 1, "unet/config.json": 1}  # by LFS and by git hash
        download(hub, tmp_path / "once")
        assert content(tmp_path / "once").keys() == TEXT | PLAIN
        hub.damaged = {"text_encoder/model.safetensors": 2}
        message = refusal(hub, tmp_path / "twice")
        assert "text_encoder/model.safetensors arrived twice with a wrong size or hash" in message
        assert not (tmp_path / "twice/text_encoder/model.safetensors").exists()
        hub.damaged = {}
        download(hub, tmp_path / "twice")
        assert content(tmp_path / "twice") == content(tmp_path / "once")


def test_moved_branch_replaces_what_an_earlier_attempt_got(repo, tmp_path):
    add(repo.folder, "tokenizer/old.txt")
    with FakeHub(lab__tiny=repo) as hub:
        hub.damaged = {f"{UNET}.safetensors": 2}
        refusal(hub, tmp_path / "out")
        assert (tmp_path / "out/tokenizer/old.txt").exists()
        repo.commit = "f" * 40
        (repo.folder / "tokenizer/old.txt").unlink()
        add(repo.folder, "unet/config.json", b"another")
        assert download(hub, tmp_path / "out")["commit"] == "f" * 40
    files = content(tmp_path / "out")
    assert files.keys() == TEXT | PLAIN
    assert files["unet/config.json"] == b"another"


def test_file_in_the_users_own_cache_is_not_downloaded(repo, tmp_path):
    name = f"{UNET}.safetensors"
    cached = tmp_path / f"cache/models--lab--tiny/snapshots/{COMMIT}"
    add(cached, name, (repo.folder / name).read_bytes())
    with FakeHub(lab__tiny=repo) as hub:
        download(hub, tmp_path / "out")
        assert hub.gets(name) == 0
        add(cached, name, b"damaged")
        download(hub, tmp_path / "again")
        assert hub.gets(name) == 1
    assert content(tmp_path / "again") == content(tmp_path / "out")


def command(tmp_path, *options):
    return [
        sys.executable, SCRIPT, "--model", MODEL, "--scratch", tmp_path / "scratch",
        "--folder", tmp_path / "pipeline", "--facts", tmp_path / "facts.json",
        "--log", tmp_path / "log", *options,
    ]  # fmt: skip


def run(hub, tmp_path, *options, **variables):
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint} | variables
    return subprocess.run(
        command(tmp_path, *options), env=environment, capture_output=True, text=True
    )


def test_command_writes_the_folder_and_the_facts(repo, tmp_path):
    add(repo.folder, f"{UNET}.fp16.safetensors")
    add(tmp_path, "pipeline/of_an_earlier_run.json")
    with FakeHub(lab__tiny=repo) as hub:
        done = run(hub, tmp_path, "--revision", COMMIT, "--variant", "fp16")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["commit"] == COMMIT
    assert content(tmp_path / "pipeline").keys() == facts["files"].keys()
    assert f"{UNET}.fp16.safetensors" in facts["files"]
    assert not (tmp_path / "scratch").exists()
    log = (tmp_path / "log").read_text()
    assert re.search(r"\d of 8 files: unet/diffusion_pytorch_model.fp16.safetensors", log)


def test_command_tells_an_error_in_one_line(repo, tmp_path):
    repo.gated = "auto"
    with FakeHub(lab__tiny=repo) as hub:
        gated = run(hub, tmp_path)
        offline = run(hub, tmp_path, HF_HUB_OFFLINE="1")
    for done in (gated, offline):
        assert done.returncode == 1
        assert done.stderr.startswith("error: lab/tiny")
        assert done.stderr.count("\n") == 1
    assert "HF_HUB_OFFLINE" in offline.stderr
    assert not (tmp_path / "pipeline").exists()
    assert not (tmp_path / "facts.json").exists()


def test_killed_command_goes_on_after_the_last_whole_file(repo, tmp_path):
    large = f"{UNET}.safetensors"
    add(repo.folder, large, os.urandom(3_000_000))
    with FakeHub(lab__tiny=repo) as hub:
        hub.stall[large] = 1_000_000
        environment = os.environ | {"HF_ENDPOINT": hub.endpoint}
        process = subprocess.Popen(command(tmp_path), env=environment)
        assert hub.stalled.wait(20)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "pipeline").exists()
        assert list((tmp_path / "scratch").rglob("*.incomplete"))
        hub.stall.clear()
        hub.go_on.set()
        done = run(hub, tmp_path)
        assert done.returncode == 0, done.stderr
        assert hub.gets(large) == 2
        assert all(hub.gets(name) == 1 for name in TEXT | PLAIN if name != large)
    files = content(tmp_path / "pipeline")
    assert files.keys() == TEXT | PLAIN
    assert all(files[name] == (repo.folder / name).read_bytes() for name in files)


def test_command_moves_the_folder_to_another_file_system(repo, tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    scratch = other / f"synthgap-{os.getpid()}"
    add(tmp_path, ".pipeline.part/of_a_killed_move.json")
    try:
        with FakeHub(lab__tiny=repo) as hub:
            done = run(hub, tmp_path, "--scratch", scratch)
        assert done.returncode == 0, done.stderr
        assert not scratch.exists()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    assert content(tmp_path / "pipeline").keys() == TEXT | PLAIN
    assert not (tmp_path / ".pipeline.part").exists()


def test_slug_is_a_safe_and_telling_name():
    assert slug("stabilityai/sdxl-turbo", None) == "stabilityai--sdxl-turbo"
    assert slug("stabilityai/sdxl-turbo", COMMIT) == "stabilityai--sdxl-turbo--71153311"
    assert slug("a/b", "refs/pr/3") == "a--b--refs-pr-3"
    assert slug("gpt2", "v1.0+x") == "gpt2--v1.0-x"


def test_naming_a_model_takes_no_heavy_library():
    code = "import sys, synthgap.hub; print(*{'huggingface_hub', 'torch'} & sys.modules.keys())"
    environment = os.environ | {"PYTHONPATH": str(Path(synthgap_hub.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0
    assert done.stdout.strip() == b""


@pytest.fixture
def single(tmp_path):
    """A repository of one transformers model, with its weights in several formats."""
    folder = tmp_path / "single"
    for name in (
        "config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin",
        "README.md", ".gitattributes", "onnx/model.onnx", "checkpoint-7/model.safetensors",
    ):  # fmt: skip
        add(folder, name)
    return Repo(folder)


def test_a_single_model_is_its_configuration_and_safetensors(single, tmp_path):
    with FakeHub(lab__tiny=single) as hub:
        assert check_access(MODEL, None, layout="model", endpoint=hub.endpoint)["commit"] == COMMIT
        facts = download(hub, tmp_path / "out", layout="model")
        said = refusal(hub, tmp_path / "other")
    expected = {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert content(tmp_path / "out").keys() == facts["files"].keys() == expected
    assert said == (
        f"{MODEL} is no diffusers pipeline: it has no model_index.json; give another model"
    )


def test_a_single_model_without_safetensors_is_refused(single, tmp_path, repo):
    (single.folder / "model.safetensors").unlink()
    with FakeHub(lab__tiny=single) as hub:
        said = refusal(hub, tmp_path / "out", layout="model")
    assert "it has no safetensors weights but pytorch_model.bin" in said
    with FakeHub(lab__tiny=repo) as hub:
        said = refusal(hub, tmp_path / "out2", layout="model")
    assert "is no model of transformers: it has no config.json" in said
