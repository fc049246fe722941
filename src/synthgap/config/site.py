"""What only this machine or cluster knows: `config/site.yaml`. It shapes no result."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from synthgap.config.explain import explain
from synthgap.config.sections import Count, FolderName, Section
from synthgap.errors import UserError

# Into sbatch's options as they are.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", coerce_numbers_to_str=True)]
# Slurm allows more, but Snakemake's plugin does not.
Model = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$", coerce_numbers_to_str=True)]
Constraint = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,&|*()\[\]-]+$")]


class Site(Section):
    """The facts of a site."""

    account: Word | None = Field(None, description="Slurm account that jobs are charged to")
    partition: Word | None = Field(None, description="Slurm partition of jobs without a GPU")
    gpu_partition: Word | None = Field(None, description="Slurm partition of jobs with a GPU")
    qos: Word | None = Field(None, description="Slurm quality of service")
    constraint: Constraint | None = Field(None, description="Slurm node features to ask for")
    gpu_model: Model = Field(
        "any", description="GPU model as Slurm names it; `any`, or `none` for all jobs on CPUs"
    )
    jobs_per_gpu: Count = Field(
        1, description="jobs that share a GPU of this machine; a cluster hands out whole ones"
    )
    max_mem_mb: Count | None = Field(None, description="most memory a job may ask for, in MB")
    max_runtime: Count | None = Field(None, description="most minutes a job may ask for")
    scratch: FolderName | None = Field(
        None, description="folder of unfinished work, that all nodes see"
    )


def load_site(path: Path, overrides: object = None) -> Site:
    """Return the facts of a file, some of them overridden (`--config site=...`).

    Raises:
        UserError: one line for each key that is misspelt or wrongly typed.
    """
    try:
        raw: Any = yaml.safe_load(path.read_text()) if path.exists() else None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    where = str(path)
    if not isinstance(raw, dict | None):
        raise UserError(f"{path}: a mapping of keys is needed, such as `account: mylab`")
    if overrides is not None:
        if not isinstance(overrides, dict):
            raise UserError(
                "--config site: give a mapping, such as --config 'site={account: mylab}'"
            )
        # Snakemake leaves the values of a mapping on its command line as they were typed.
        typed = {
            key: int(value) if str(value).isdecimal() else None if value == "null" else value
            for key, value in overrides.items()
        }
        raw, where = (raw or {}) | typed, f"{path} with --config site"
    try:
        return Site.model_validate(raw or {})
    except ValidationError as error:
        problems, schema = error.errors(include_url=False), Site.model_json_schema()
        lines = [explain(dict(problem), raw, schema) for problem in problems]
        raise UserError("\n".join([f"{where} is not valid:", *lines])) from None


def scratch_folder(site: Site, results: str) -> str:
    """Return the folder of unfinished work that belongs to a results folder."""
    if site.scratch is None:
        return f"{results}/.scratch"
    # One scratch folder serves several checkouts and studies.
    where = Path(results).resolve()
    return f"{site.scratch}/{where.name}-{hashlib.sha256(str(where).encode()).hexdigest()[:8]}"
