"""Models: pre-trained here as a chain of steps, fetched from the hub, or the user's own folders.

Reads   <results>/corpora/{corpus}/{lang}.jsonl, the hub, a folder per step
Writes  <results>/tokenizers/{tokenizer}/
        <results>/tokens/{corpus}.{tokenizer}.{length}.h5
        <results>/models/{model}/{step}/        a Hugging Face folder; of our own also training/ to go on from
        <results>/models/{model}/{steps}.json   which of these a job trained or found whole
        <results>/tables/models.tsv, steps.tsv, losses.parquet
"""


localrules:
    fetch_checkpoint,


ruleorder: initialise_checkpoint > fetch_checkpoint


# The only rule that needs network. It is local, so that it runs on the login node of a cluster.
rule fetch_checkpoint:
    output:
        until_read(directory("<results>/models/{model}/{step}")),
    log:
        "<logs>/fetch_checkpoint/{model}/{step}.log",
    benchmark:
        "<benchmarks>/fetch_checkpoint/{model}/{step}.tsv"
    wildcard_constraints:
        model=one_of(name for name, model in MODELS.items() if model.source == "hub"),
    priority: next_first
    conda:
        "../../envs/cpu.yaml"
    threads: fetching_threads
    resources:
        **needs("fetch_checkpoint"),
        network=1,
    params:
        weights=lambda wildcards: MODELS[wildcards.model].checkpoints.place(int(wildcards.step)),
        tokenizer=lambda wildcards: MODELS[wildcards.model].checkpoints.tokenizer_place(int(wildcards.step)),
        sizes=lambda wildcards: MODELS[wildcards.model].config,
        version=version("fetch_checkpoint"),
    message:
        "fetch step {wildcards.step} of {wildcards.model} from {params.weights[repo]}"
    script:
        "../scripts/fetch_checkpoint.py"


rule initialise_checkpoint:
    input:
        lambda wildcards: MODELS[wildcards.model].files(MODELS[wildcards.model].first_real_step),
    output:
        directory("<results>/models/{model}/{step}"),
    log:
        "<logs>/initialise_checkpoint/{model}/{step}.log",
    wildcard_constraints:
        model=one_of(name for name, model in MODELS.items() if model.random_baseline),
        step="0",
    priority: AUDIT_FIRST
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("initialise_checkpoint"),
    params:
        folders=folders(lambda wildcards: [MODELS[wildcards.model].first_real_step]),
        seed=STUDY.seed,
        version=version("initialise_checkpoint"),
    message:
        "make step {wildcards.step} of {wildcards.model}, with random weights"
    script:
        "../scripts/initialise_checkpoint.py"


rule train_tokenizer:
    input:
        lambda wildcards: documents(STUDY.tokenizers[wildcards.tokenizer].corpus, learnt_from(wildcards)),
    output:
        tokenizer="<results>/tokenizers/{tokenizer}/tokenizer.json",
        config="<results>/tokenizers/{tokenizer}/tokenizer_config.json",
    log:
        "<logs>/train_tokenizer/{tokenizer}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("train_tokenizer"),
    params:
        languages=learnt_from,
        clones=lambda wildcards: STUDY.clones_among(
            STUDY.corpora[STUDY.tokenizers[wildcards.tokenizer].corpus].languages
        ),
        vocabulary_size=lambda wildcards: STUDY.tokenizers[wildcards.tokenizer].vocabulary_size,
        seed=STUDY.seed,
        version=version("train_tokenizer"),
    message:
        "train tokenizer {wildcards.tokenizer} of {params.vocabulary_size} pieces"
    script:
        "../scripts/train_tokenizer.py"


rule tokenize_corpus:
    input:
        documents=lambda wildcards: documents(wildcards.corpus),
        tokenizer="<results>/tokenizers/{tokenizer}/tokenizer.json",
    output:
        "<results>/tokens/{corpus}.{tokenizer}.{length}.h5",
    log:
        "<logs>/tokenize_corpus/{corpus}.{tokenizer}.{length}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("tokenize_corpus"),
    params:
        languages=lambda wildcards: list(STUDY.corpora[wildcards.corpus].languages),
        version=version("tokenize_corpus"),
    message:
        "cut corpus {wildcards.corpus} into windows of {wildcards.length} tokens"
    script:
        "../scripts/tokenize_corpus.py"


# Its output is a list of checkpoints that are whole. They are no outputs, so Snakemake never removes them: the
# job takes over those that it finds and that were made with the same settings, and trains only the others.
rule pretrain_step:
    input:
        tokens=training_tokens,
        tokenizer=lambda wildcards: f"<results>/tokenizers/{MODELS[wildcards.model].tokenizer}/tokenizer.json",
        previous=previous_steps,
    output:
        "<results>/models/{model}/{steps}.json",
    log:
        "<logs>/pretrain_step/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/pretrain_step/{model}/{steps}.tsv"
    priority: TRAIN
    conda:
        "../../envs/gpu.yaml"
    threads: training_threads
    resources:
        **needs("pretrain_step"),
        gpu=1,
    params:
        steps=training_steps,
        architecture=lambda wildcards: MODELS[wildcards.model].architecture,
        architecture_config=lambda wildcards: dict(
            sorted(MODELS[wildcards.model].architecture_config.items())
        ),
        training=lambda wildcards: MODELS[wildcards.model].training.model_dump(),
        seed=lambda wildcards: MODELS[wildcards.model].seed,
        mixture=lambda wildcards: STUDY.mixture(MODELS[wildcards.model].corpus),
        device=STUDY.extraction.device,
        # Weights that somebody put in place of ours: what was made from them is computed anew.
        changed=lambda wildcards: changed_weights(STUDY, wildcards.model, training_steps(wildcards)),
        version=version("pretrain_step"),
    message:
        "pre-train {wildcards.model} to step {wildcards.steps}"
    script:
        "../scripts/pretrain_step.py"


rule collect_models:
    input:
        configs=[file for model in MODELS.values() for file in model.files(model.steps[-1])],
        trained=each("<results>/models/{model}/{steps}.json", "training"),
    output:
        models=report("<results>/tables/models.tsv", category="tables", labels={"table": "models"}),
        steps="<results>/tables/steps.tsv",
        losses="<results>/tables/losses.parquet",
    log:
        "<logs>/collect_models.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_models"),
    params:
        **counted_latents(),
        models=[model.description for model in MODELS.values()],
        tokens={name: {step: model.tokens_at(step) for step in model.steps} for name, model in MODELS.items()},
        sites=list(STUDY.extraction.sites),
        version=version("collect_models"),
    message:
        "collect what the models are and how they learned"
    script:
        "../scripts/collect_models.py"
