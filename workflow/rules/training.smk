# Text-to-image models that are trained here: images and texts are encoded once, for all models.
# All synthetic images wait for these jobs, one after the other, so they come first.


def part_folder(section, name):
    """The folder of an autoencoder or text encoder: made here, or got from elsewhere."""
    part = getattr(CONFIG, section)[name]
    return f"{RESULTS}/{section}/{name}" if part.made_here else model_folder(part)


def part_files(part):
    return [] if part.made_here else model_files(part)


def learnt_from(w):
    """The latents and texts that a text-to-image model is trained on, by the option they are for."""
    model = CONFIG.trained_models[w.trained]
    files = {}
    for role, source in model.learns_from.items():
        stems = [Path(tar).stem for tar in shards(source, "train")]
        latents = f"{RESULTS}/latents/{model.autoencoder}/{source}"
        files[f"{role}latents"] = [f"{latents}/{stem}.safetensors" for stem in stems]
        for kind in model.kinds_of(source):
            texts = f"{RESULTS}/texts/{model.text_encoder}/{kind}/{source}"
            files[f"{role}texts_of_{kind}"] = [f"{texts}/{stem}.safetensors" for stem in stems]
    return files


def learnt_options(w, input):
    """The same as options of `train_generator`."""
    found = []
    for name in learnt_from(w):
        option = name.partition("_of_")[0].replace("_", "-")
        found.append(f"--{option} {' '.join(input[name])}")
    return " ".join(found)


def begun_from(w):
    """The pipeline folder that a text-to-image model begins as, if it does."""
    start = CONFIG.trained_models[w.trained].start
    return f"{RESULTS}/models/{start}" if start in CONFIG.trained_models else start or []


def begun_from_files(w):
    start = begun_from(w)
    return files_of(start) if start and CONFIG.trained_models[w.trained].start == start else []


def training_options(w, input):
    """Further options of `train_generator`."""
    steps = CONFIG.snapshots(w.trained)
    start = f"--start {input.start} " if input.start else ""
    return start + " ".join(["--snapshot-steps", *map(str, steps)] if steps else [])


AUTOENCODERS = {name: part_folder("autoencoders", name) for name in CONFIG.autoencoders}
TEXT_ENCODERS = {name: part_folder("text_encoders", name) for name in CONFIG.text_encoders}


rule train_autoencoder:
    input:
        manifest=manifest("real", "train"),
    output:
        folder=directory(f"{RESULTS}/autoencoders/{{autoencoder}}"),
    log:
        f"{RESULTS}/logs/train_autoencoder/{{autoencoder}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_autoencoder/{{autoencoder}}.tsv"
    priority: 50
    conda:
        ENVIRONMENT
    threads: autoencoder_threads
    resources:
        **needs(mem_mb=4000, minutes=240, cpus=autoencoder_threads),
    params:
        autoencoder=lambda w: as_json(CONFIG.autoencoders[w.autoencoder]),
        code=code_digest("train_autoencoder"),
    shell:
        "python $SYNTHGAP_SCRIPTS/train_autoencoder.py --manifest {input.manifest}"
        " --autoencoder {params.autoencoder:q}"
        " --checkpoint-seconds $SYNTHGAP_CHECKPOINT_SECONDS"
        " --scratch $SYNTHGAP_SCRATCH/train_autoencoder/{wildcards.autoencoder}"
        " --folder {output.folder} --log {log}"


rule build_text_encoder:
    input:
        captions=[table for source in CAPTIONED for table in captions(source)],
    output:
        folder=directory(f"{RESULTS}/text_encoders/{{textencoder}}"),
    log:
        f"{RESULTS}/logs/build_text_encoder/{{textencoder}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_text_encoder/{{textencoder}}.tsv"
    priority: 50
    conda:
        ENVIRONMENT
    resources:
        **needs(mem_mb=4000, minutes=30),
    params:
        encoder=lambda w: as_json(CONFIG.text_encoders[w.textencoder]),
        code=code_digest("build_text_encoder"),
    shell:
        "python $SYNTHGAP_SCRIPTS/build_text_encoder.py --captions {input.captions}"
        " --encoder {params.encoder:q} --folder {output.folder} --log {log}"


rule encode_latents:
    input:
        images=f"{RESULTS}/images/{{learnt}}/train/rgb/{{shard}}.tar",
        folder=lambda w: AUTOENCODERS[w.autoencoder],
        files=lambda w: part_files(CONFIG.autoencoders[w.autoencoder]),
    output:
        latents=f"{RESULTS}/latents/{{autoencoder}}/{{learnt}}/{{shard}}.safetensors",
        facts=f"{RESULTS}/latents/{{autoencoder}}/{{learnt}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/encode_latents/{{autoencoder}}/{{learnt}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/encode_latents/{{autoencoder}}/{{learnt}}/{{shard}}.tsv"
    priority: 50
    conda:
        ENVIRONMENT
    threads: autoencoder_threads
    resources:
        **needs(mem_mb=8000, minutes=60, gpu=1, cpus=autoencoder_threads),
    params:
        batch_size=lambda w: CONFIG.autoencoders[w.autoencoder].batch_size,
        threads=autoencoder_threads,
        code=code_digest("encode_latents"),
    shell:
        "python $SYNTHGAP_SCRIPTS/encode_latents.py --images {input.images}"
        " --autoencoder {input.folder} --batch-size {params.batch_size}"
        " --threads {params.threads} --gpus {resources.gpu} --latents {output.latents} --log {log}"


rule encode_texts:
    input:
        images=f"{RESULTS}/images/{{learnt}}/train/rgb/{{shard}}.tar",
        captions=lambda w: (
            f"{RESULTS}/captions/{w.learnt}/train/{w.shard}.parquet"
            if w.kind in NEEDS_CAPTION
            else []
        ),
        folder=lambda w: TEXT_ENCODERS[w.textencoder],
        files=lambda w: part_files(CONFIG.text_encoders[w.textencoder]),
    output:
        texts=f"{RESULTS}/texts/{{textencoder}}/{{kind}}/{{learnt}}/{{shard}}.safetensors",
        facts=f"{RESULTS}/texts/{{textencoder}}/{{kind}}/{{learnt}}/{{shard}}.json",
    log:
        f"{RESULTS}/logs/encode_texts/{{textencoder}}/{{kind}}/{{learnt}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/encode_texts/{{textencoder}}/{{kind}}/{{learnt}}/{{shard}}.tsv"
    priority: 50
    conda:
        ENVIRONMENT
    threads: text_encoder_threads
    resources:
        **needs(mem_mb=16000, minutes=120, gpu=1, cpus=text_encoder_threads),
    params:
        captions=lambda w, input: f"--captions {input.captions}" if input.captions else "",
        settings=text_options,
        threads=text_encoder_threads,
        code=code_digest("encode_texts"),
    shell:
        "python $SYNTHGAP_SCRIPTS/encode_texts.py --images {input.images} {params.captions}"
        " --kind {wildcards.kind} --text-encoder {input.folder} {params.settings}"
        " --threads {params.threads} --gpus {resources.gpu} --texts {output.texts} --log {log}"


# Several processes share each batch, each with a GPU of its own: torch's launcher starts them.
rule train_generator:
    input:
        unpack(learnt_from),
        autoencoder=lambda w: AUTOENCODERS[CONFIG.trained_models[w.trained].autoencoder],
        text_encoder=lambda w: TEXT_ENCODERS[CONFIG.trained_models[w.trained].text_encoder],
        start=begun_from,
        start_files=begun_from_files,
    output:
        pipeline=directory(f"{RESULTS}/models/{{trained}}"),
        snapshots=directory(f"{RESULTS}/models/{{trained}}.snapshots"),
        history=f"{RESULTS}/models/{{trained}}.history.parquet",
        sheets=directory(f"{RESULTS}/models/{{trained}}.sheets"),
    log:
        f"{RESULTS}/logs/train_generator/{{trained}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_generator/{{trained}}.tsv"
    priority: 50
    conda:
        ENVIRONMENT
    threads: trained_cpus
    resources:
        **needs(
            mem_mb=trained_mb,
            minutes=1440,
            gpu=trained_processes,
            cpus=lambda w: trained_cpus(w) // trained_nodes(w),
        ),
        **across_nodes(),
        # No param: nodes shape no weights.
        spread=trained_nodes,
    params:
        processes=trained_processes,
        learnt=learnt_options,
        model=lambda w: as_json(CONFIG.trained_models[w.trained].options()),
        options=training_options,
        threads=trained_threads,
        code=code_digest("train_generator"),
    shell:
        "python -m synthgap.launch --processes {params.processes} --nodes {resources.spread}"
        " --cpus {params.threads} --gpus {resources.gpu} --"
        " $SYNTHGAP_SCRIPTS/train_generator.py {params.learnt}"
        " --autoencoder {input.autoencoder} --text-encoder {input.text_encoder}"
        " --model {params.model:q} {params.options} --threads {params.threads} --gpus {resources.gpu}"
        " --checkpoint-seconds $SYNTHGAP_CHECKPOINT_SECONDS"
        " --scratch $SYNTHGAP_SCRATCH/train_generator/{wildcards.trained}"
        " --pipeline {output.pipeline} --snapshots {output.snapshots} --history {output.history} --sheets {output.sheets}"
        " --log {log}"
