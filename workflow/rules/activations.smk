"""What the models compute on the sentences: one forward pass for everything that is stored.

Reads   a checkpoint's folder, <results>/sentences/{lang}.tsv
Writes  <results>/activations/{model}/{step}/{lang}.units.h5    pooled unit activations (large, read once)
        <results>/activations/{model}/{step}/{lang}.tokens.h5   sampled token states, sentence means (kept)
        <results>/tables/extraction.tsv                         cut sentences, hashes of weights and text
"""

for batch in LANG_BATCHES:

    rule:
        name:
            batch.rule("extract_activations")
        input:
            model=batch_model_files(batch),
            sentences=expand("<results>/sentences/{lang}.tsv", lang=batch.part_paths),
        output:
            units=maybe_temp(
                expand(
                    "<results>/activations/{{model}}/{step}/{lang}.units.h5",
                    step=batch.step_paths,
                    lang=batch.part_paths,
                )
            ),
            tokens=expand(
                "<results>/activations/{{model}}/{step}/{lang}.tokens.h5",
                step=batch.step_paths,
                lang=batch.part_paths,
            ),
        log:
            f"<logs>/extract_activations/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/extract_activations/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
            lang=batch.part_constraint,
        conda:
            "../../envs/gpu.yaml"
        resources:
            **needs("extract_activations", batch),
            **activations(batch),
            gpu=1,
        params:
            folders=batch_folders(batch),
            langs=batch.parts_of,
            settings=lambda wildcards: run_settings(wildcards.model),
            seed=STUDY.seed,
            version=STAGE_VERSION["extraction"],
        message:
            "run {wildcards.model} over the sentences, one pass for all that is stored"
        script:
            "../scripts/extract_activations.py"


rule collect_extraction:
    input:
        [
            f"<results>/activations/{run_id}/{step}/{lang}.tokens.h5"
            for run_id, model in MODELS.items()
            for step in model.steps
            for lang in STUDY.languages
        ],
    output:
        report("<results>/tables/extraction.tsv", category="tables", labels={"table": "extraction"}),
    log:
        "<logs>/collect_extraction.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_extraction"),
    params:
        version=STAGE_VERSION["extraction"],
    message:
        "collect what the activations were computed from"
    script:
        "../scripts/collect_extraction.py"
