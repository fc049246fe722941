# Where jobs run: what they need, what this site has, and how a run on a cluster begins and ends.

import subprocess
import time

from synthgap import runs, slurm
from synthgap.devices import visible_gpus
from synthgap.planning import memory

GENERATOR_MB = {name: memory.generator_mb(CONFIG, name) for name in CONFIG.generators}
TRAINING_MB = memory.training_mb(CONFIG)
# When this run did, in seconds since 1970.
BEGAN = time.time()
# Where `settle_run.py` wants the digest of config and code, when it starts Snakemake.
SETTLING = os.environ.get("SYNTHGAP_SETTLING")


def needs(mem_mb, minutes, gpu=None, cpus=None):
    """What a rule's jobs need; memory and time double with each attempt, up to the site's limits.

    Without `cpus` they get as many as they have threads.
    """
    gpu = 0 if gpu and SITE.gpu_model == "none" else gpu
    found = {
        "mem_mb": growing(mem_mb, SITE.max_mem_mb),
        "runtime": growing(minutes, SITE.max_runtime),
        "cpus_per_task": cpus,
        "gpu": gpu,
        "gpu_model": SITE.gpu_model if gpu and SITE.gpu_model != "any" else None,
        "slurm_account": SITE.account,
        "slurm_partition": SITE.gpu_partition if gpu else SITE.partition,
        "qos": SITE.qos,
        "constraint": SITE.constraint,
    }
    return {name: value for name, value in found.items() if value is not None}


def growing(first, most):
    def size(wildcards, attempt):
        base = first(wildcards) if callable(first) else first
        return int(min(base * 2 ** (attempt - 1), most or float("inf")))

    return size


def classifier_threads(w):
    return CONFIG.classifiers[w.classifier].threads


def trained_threads(w):
    return CONFIG.trained_models[w.trained].threads


def trained_processes(w):
    return CONFIG.trained_models[w.trained].processes


def trained_nodes(w):
    return CONFIG.trained_models[w.trained].nodes


def trained_cpus(w):
    return trained_processes(w) * trained_threads(w)


def trained_mb(w):
    return memory.trained_mb(CONFIG, w.trained)


def across_nodes():
    """What trainings need besides, where some are spread over nodes of a cluster."""
    if all(model.nodes == 1 for model in CONFIG.trained_models.values()):
        return {}
    return {
        "nodes": trained_nodes,
        "tasks": trained_nodes,
        # Otherwise the plugin takes the number of tasks for that of each GPU.
        "tasks_per_gpu": -1,
        # Where it is asked for, the plugin leaves it to the command to start tasks on the nodes.
        "mpi": lambda w: "srun" if trained_nodes(w) > 1 else "",
    }


def edm_threads(w):
    return CONFIG.edm_models[w.edm].threads


def autoencoder_threads(w):
    return CONFIG.autoencoders[w.autoencoder].threads


def text_encoder_threads(w):
    return CONFIG.text_encoders[w.textencoder].threads


def text_options(w):
    encoder = CONFIG.text_encoders[w.textencoder]
    settings = {"max-tokens": encoder.max_tokens, "dtype": encoder.dtype}
    settings["batch-size"] = encoder.batch_size
    return " ".join(f"--{name} {value}" for name, value in settings.items())


def depth_threads(w):
    return CONFIG.depth_views[w.depth].threads


def generator_threads(w):
    return generator_of(w.synthetic).threads


def generator_mb(w):
    return GENERATOR_MB[CONFIG.sources[w.synthetic][0]]


def settings():
    """A digest of config and code: jobs of another run had the same if this is equal."""
    return runs.settings_digest(CONFIG.model_dump_json(), Path(workflow.basedir, "workflow/rules"))


def begin_run():
    """Find out what would stop the jobs before any is submitted, and note the run."""
    kinds = {}
    for job in workflow.dag.needrun_jobs():
        if not job.is_local:
            kinds.setdefault(slurm.Request.of(dict(job.resources.items())), job.rule.name)
    slurm.require_slurm()
    if os.environ.get("SYNTHGAP_NO_CHECKS") != "1":
        slurm.check_requests(kinds, retries=workflow.execution_settings.retries, site=SITE)
        slurm.check_folders(kinds, written=[".", RESULTS, SCRATCH], read=[workflow.basedir])
    given = workflow.config_settings
    runs.this_run(
        workflow.scheduler._executor.run_uuid,
        RESULTS,
        settings(),
        workflow.main_snakefile,
        given.configfiles,
        given.config_args,
    ).note()


def end_run(failed=False):
    """Note that this run came to an end, once none of its jobs is left."""
    for run in runs.unsettled(RESULTS):
        if run.pid == os.getpid() and run.lives():
            try:
                if failed:
                    slurm.cancel(run.name)
                if slurm.wait_until_gone(run.name, most_seconds=60):
                    run.forget()
            except UserError as error:
                logger.warning(f"This run could not note its end: {error}")


def summarise_run():
    """Tell what this run has made, if that is files; a run that is done does not fail by it."""
    made = {path for job in workflow.dag.jobs for path in job.output}
    if not made:
        return
    kinds = {"real": ["real"], "synthetic": list(CONFIG.sources), "composite": COMPOSITES}
    command = [sys.executable, Path(workflow.basedir, "workflow/scripts/summarise_run.py")]
    command += ["--results", RESULTS, "--sources", json.dumps(kinds)]
    command += ["--jobs", workflow.scheduler.finished_jobs, "--began", BEGAN]
    command += ["--log", f"{RESULTS}/logs/summarise_run.log"]
    command += ["--report", REPORT] if REPORT in made else []
    command += [] if workflow.overwrite_configfiles else ["--example"]
    subprocess.run(list(map(str, command)), check=False)


if workflow.is_main_process:
    if SETTLING:
        Path(SETTLING).write_text(settings())
    elif not workflow.output_settings.dryrun and (reason := runs.refusal(RESULTS)):
        # Snakemake's own lock may come first, and `onstart` then has no say.
        print(reason, file=sys.stderr)
    if workflow.nodes is None and "gpu" not in workflow.global_resources:
        # One machine: so many GPU jobs a GPU; without any, all jobs compute on the CPU.
        workflow.register_resource("gpu", len(visible_gpus()) * SITE.jobs_per_gpu)


def gpu_stages():
    """The stages whose jobs have a GPU each, for what the page tells of costs."""
    if workflow.executor_plugin.name != "slurm" and not visible_gpus():
        return []
    return [rule.name for rule in workflow.rules if rule.resources.get("gpu")]


onstart:
    # For each job that ends, Snakemake's rate limit leaves one more timer that wakes the scheduler
    # once a second (benchmarks/dispatching.py). What a cluster is given at once, `jobs` limits.
    workflow.scheduler.job_rate_limiter = None
    os.environ.update(SYNTHGAP_GPU_STAGES=" ".join(gpu_stages()))
    try:
        if not SETTLING and (reason := runs.refusal(RESULTS)):
            raise UserError(reason)
        if workflow.executor_plugin.name == "slurm":
            begin_run()
    except UserError as error:
        sys.exit(f"error: {error}")


onerror:
    end_run(failed=True)
