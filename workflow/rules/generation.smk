"""Generation: force a concept's experts and read what the model writes from the start token alone.

Reads   a checkpoint's folder, <results>/experts/, <results>/scores/, <results>/concepts/words.json
Writes  <results>/generation/{model}/{step}.{texts,languages}.parquet
        <results>/tables/{generation,texts}.parquet
"""

for batch in GENERATION_BATCHES:

    rule:
        name:
            batch.rule("generate_text")
        input:
            model=batch_model_files(batch),
            scores=expand(
                "<results>/scores/{{model}}/{step}/{lang}.h5",
                step=batch.step_paths,
                lang=STUDY.generation.languages,
            ),
            experts=expand(
                "<results>/experts/{{model}}/{step}/{lang}.parquet",
                step=batch.step_paths,
                lang=STUDY.generation.languages,
            ),
        output:
            expand("<results>/generation/{{model}}/{step}.texts.parquet", step=batch.step_paths),
        log:
            f"<logs>/generate_text/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/generate_text/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
        conda:
            "../../envs/gpu.yaml"
        resources:
            **needs("generate_text", batch),
            gpu=1,
        params:
            folders=batch_folders(batch),
            langs=list(STUDY.generation.languages),
            concepts=list(STUDY.generation_concepts),
            settings=generation_settings,
            compute_dtype=lambda wildcards: run_settings(wildcards.model)["compute_dtype"],
            device=STUDY.extraction.device,
            seed=STUDY.seed,
            version=STAGE_VERSION["generation"],
        message:
            "let {wildcards.model} write with its experts forced"
        script:
            "../scripts/generate_text.py"

    rule:
        name:
            batch.rule("identify_language")
        input:
            expand("<results>/generation/{{model}}/{step}.texts.parquet", step=batch.step_paths),
        output:
            expand("<results>/generation/{{model}}/{step}.languages.parquet", step=batch.step_paths),
        log:
            f"<logs>/identify_language/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/identify_language/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("identify_language", batch),
        params:
            languages=list(STUDY.languages),
            version=STAGE_VERSION["generation"],
        message:
            "identify the language of what {wildcards.model} wrote"
        script:
            "../scripts/identify_language.py"


rule collect_generation:
    input:
        texts=generation_files("texts"),
        languages=generation_files("languages"),
        words="<results>/concepts/words.json",
    output:
        generation=report(
            "<results>/tables/generation.parquet", category="tables", labels={"table": "generation"}
        ),
        texts=report("<results>/tables/texts.parquet", category="tables", labels={"table": "sample texts"}),
    log:
        "<logs>/collect_generation.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_generation"),
    params:
        languages=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=STAGE_VERSION["generation"],
    message:
        "count concepts and languages in what the models wrote"
    script:
        "../scripts/collect_generation.py"
