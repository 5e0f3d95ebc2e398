"""Generation: force a concept's experts and read what the model writes from the start token alone.

Reads   the checkpoints, <results>/{best,experts}/, <results>/sentences/, <results>/concepts/
Writes  <results>/generation/{model}/{steps}.{texts,languages}.parquet
        <results>/tables/{generation,generation_contrasts,texts}.parquet
"""


rule generate_text:
    input:
        model=checkpoints(writing_steps),
        dictionaries=dictionaries(writing_steps),
        best=holding(writing_steps, "<results>/best/{model}/{steps}.h5"),
        experts=holding(writing_steps, "<results>/experts/{model}/{steps}.parquet"),
        # Random units are held at their medians over the sentences of the concept, and at the experts' z-scores.
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.generation.languages),
        concepts=expand("<results>/concepts/{lang}.tsv", lang=STUDY.generation.languages),
    output:
        "<results>/generation/{model}/{steps}.texts.parquet",
    log:
        "<logs>/generate_text/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/generate_text/{model}/{steps}.tsv"
    priority: WRITE
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("generate_text"),
        gpu=1,
    params:
        **latents(writing_steps),
        folders=folders(writing_steps),
        langs=list(STUDY.generation.languages),
        concepts=list(STUDY.generation_concepts),
        settings=lambda wildcards: STUDY.generation_settings(wildcards.model).model_dump(),
        extraction=run_settings,
        seed=STUDY.seed,
        version=version("generate_text"),
    message:
        "let {wildcards.model}, step {wildcards.steps}, write with its experts forced"
    script:
        "../scripts/generate_text.py"


rule identify_language:
    input:
        "<results>/generation/{model}/{steps}.texts.parquet",
    output:
        "<results>/generation/{model}/{steps}.languages.parquet",
    log:
        "<logs>/identify_language/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/identify_language/{model}/{steps}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("identify_language"),
    params:
        steps=writing_steps,
        languages=list(STUDY.languages),
        clones=STUDY.clones_among(STUDY.languages),
        version=version("identify_language"),
    message:
        "identify the language of what {wildcards.model}, step {wildcards.steps}, wrote"
    script:
        "../scripts/identify_language.py"


rule collect_generation:
    input:
        texts=each("<results>/generation/{model}/{steps}.texts.parquet", "writing"),
        languages=each("<results>/generation/{model}/{steps}.languages.parquet", "writing"),
        words="<results>/concepts/words.json",
    output:
        generation=report(
            "<results>/tables/generation.parquet", category="tables", labels={"table": "generation"}
        ),
        generation_contrasts=report(
            "<results>/tables/generation_contrasts.parquet",
            category="tables",
            labels={"table": "generation less that of the control"},
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
        against=paired_with_controls(MODELS),
        clones=STUDY.clones_among(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=version("collect_generation"),
    message:
        "count concepts and languages in what the models wrote"
    script:
        "../scripts/collect_generation.py"
