"""Models: pre-trained here as a chain of steps, fetched from the hub, or the user's own folders.

Reads   <results>/corpora/{corpus}/{lang}.jsonl, the hub, a folder per step
Writes  <results>/tokenizers/{tokenizer}/
        <results>/tokens/{corpus}.{tokenizer}.h5
        <results>/models/{model}/{step}/       a Hugging Face folder; of our own also training/ to go on from
        <results>/tables/models.tsv, steps.tsv, losses.parquet
"""


localrules:
    fetch_checkpoint,


ruleorder: initialise_checkpoint > fetch_checkpoint


# The only rule that needs network. It is local, so that it runs on the login node of a cluster.
rule fetch_checkpoint:
    output:
        directory("<results>/models/{model}/{step}"),
    log:
        "<logs>/fetch_checkpoint/{model}/{step}.log",
    benchmark:
        "<benchmarks>/fetch_checkpoint/{model}/{step}.tsv"
    wildcard_constraints:
        model=one_of(model.run_id for model in FROM_HUB),
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("fetch_checkpoint"),
        network=1,
    params:
        weights=lambda wildcards: hub_place(*MODELS[wildcards.model].checkpoints.place(int(wildcards.step))),
        tokenizer=lambda wildcards: hub_place(
            *MODELS[wildcards.model].checkpoints.tokenizer_place(int(wildcards.step))
        ),
        sizes=lambda wildcards: STUDY.model_config(wildcards.model),
        version=STAGE_VERSION["fetching"],
    message:
        "fetch step {wildcards.step} of {wildcards.model} from {params.weights[repo]}"
    script:
        "../scripts/fetch_checkpoint.py"


rule initialise_checkpoint:
    input:
        lambda wildcards: model_files(wildcards.model, first_real_step(wildcards.model)),
    output:
        directory("<results>/models/{model}/{step}"),
    log:
        "<logs>/initialise_checkpoint/{model}/{step}.log",
    wildcard_constraints:
        model=one_of(model.run_id for model in WITH_BASELINE),
        step="0",
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("initialise_checkpoint"),
    params:
        folder=lambda wildcards: str(STUDY.model_folder(wildcards.model, first_real_step(wildcards.model))),
        tokenizer=lambda wildcards: str(
            STUDY.tokenizer_folder(wildcards.model, first_real_step(wildcards.model))
        ),
        seed=STUDY.seed,
        version=STAGE_VERSION["baseline"],
    message:
        "make step 0 of {wildcards.model} with random weights"
    script:
        "../scripts/initialise_checkpoint.py"


rule train_tokenizer:
    input:
        lambda wildcards: corpus_documents(STUDY.tokenizers[wildcards.tokenizer].corpus),
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
        languages=lambda wildcards: list(
            STUDY.corpora[STUDY.tokenizers[wildcards.tokenizer].corpus].languages
        ),
        vocabulary_size=lambda wildcards: STUDY.tokenizers[wildcards.tokenizer].vocabulary_size,
        seed=STUDY.seed,
        version=STAGE_VERSION["tokenizer"],
    message:
        "train tokenizer {wildcards.tokenizer} of {params.vocabulary_size} pieces"
    script:
        "../scripts/train_tokenizer.py"


rule tokenize_corpus:
    input:
        documents=lambda wildcards: corpus_documents(wildcards.corpus),
        tokenizer="<results>/tokenizers/{tokenizer}/tokenizer.json",
    output:
        "<results>/tokens/{corpus}.{tokenizer}.{length}.h5",
    log:
        "<logs>/tokenize_corpus/{corpus}.{tokenizer}.{length}.log",
    wildcard_constraints:
        length=r"\d+",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("tokenize_corpus"),
    params:
        languages=lambda wildcards: list(STUDY.corpora[wildcards.corpus].languages),
        version=STAGE_VERSION["tokenizer"],
    message:
        "cut corpus {wildcards.corpus} into windows of {wildcards.length} tokens"
    script:
        "../scripts/tokenize_corpus.py"


for batch in PRETRAIN_BATCHES:

    rule:
        name:
            batch.rule("pretrain_step")
        input:
            tokens=training_tokens,
            tokenizer=lambda wildcards: f"<results>/tokenizers/{MODELS[wildcards.model].tokenizer}/tokenizer.json",
            previous=previous_state(batch),
        output:
            weights=expand("<results>/models/{{model}}/{step}/model.safetensors", step=batch.step_paths),
            config=expand("<results>/models/{{model}}/{step}/config.json", step=batch.step_paths),
            tokenizer=expand("<results>/models/{{model}}/{step}/tokenizer.json", step=batch.step_paths),
            tokenizer_config=expand(
                "<results>/models/{{model}}/{step}/tokenizer_config.json", step=batch.step_paths
            ),
            optimizer=expand(
                "<results>/models/{{model}}/{step}/training/optimizer.safetensors", step=batch.step_paths
            ),
            progress=expand("<results>/models/{{model}}/{step}/training/progress.json", step=batch.step_paths),
            losses=expand("<results>/models/{{model}}/{step}/training/losses.tsv", step=batch.step_paths),
        log:
            f"<logs>/pretrain_step/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/pretrain_step/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
        priority: 10  # the chain is the longest path: it goes before what can wait
        conda:
            "../../envs/gpu.yaml"
        threads: training_threads
        resources:
            **needs("pretrain_step", batch),
            gpu=1,
        params:
            settings=training_settings,
            mixture=lambda wildcards: STUDY.mixture(MODELS[wildcards.model].corpus),
            device=STUDY.extraction.device,
            steps=batch.steps_of,
            version=STAGE_VERSION["pretraining"],
        message:
            "pre-train {wildcards.model} to step {params.steps}"
        script:
            "../scripts/pretrain_step.py"


rule collect_models:
    input:
        configs=lambda wildcards: [
            file for model in MODELS.values() for file in model_files(model.run_id, model.steps[-1])
        ],
        losses=[
            f"<results>/models/{model.run_id}/{step}/training/losses.tsv"
            for model in PRETRAINED
            for step in model.steps
        ],
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
        models=[
            dict(
                model=model.run_id,
                id=model.id,
                seed=model.seed,
                role=model.role,
                source=model.source,
                folder=str(STUDY.model_folder(model.run_id, model.steps[-1])),
                tokens_per_step=model.tokens_per_step,
                languages=list(model.checkpoints.languages) if model.checkpoints else [],
                licence=model.checkpoints.licence if model.checkpoints else "",
                unconfirmed=", ".join(model.checkpoints.unconfirmed) if model.checkpoints else "",
            )
            for model in MODELS.values()
        ],
        tokens={
            model.run_id: {step: model.tokens_at(step) for step in model.steps} for model in MODELS.values()
        },
        sites=list(STUDY.extraction.sites),
        version=STAGE_VERSION["pretraining"],
    message:
        "collect what the models are and how they learned"
    script:
        "../scripts/collect_models.py"
