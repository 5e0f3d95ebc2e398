"""What the models compute on the sentences: one forward pass for everything that is stored.

Reads   the checkpoints, <results>/sentences/{lang}.tsv
Writes  <results>/activations/{model}/{steps}/{langs}.units.h5    pooled unit activations (large, read once)
        <results>/activations/{model}/{steps}/{langs}.tokens.h5   sampled token states, sentence means (kept)
        <results>/tables/extraction.tsv                           cut sentences, hashes of weights and text
"""


rule extract_activations:
    input:
        model=checkpoints(steps_of),
        sentences=collect("<results>/sentences/{lang}.tsv", lang=langs_of),
    output:
        # Pooled unit activations are read once by score_units, so they go unless the study keeps them.
        units=(
            "<results>/activations/{model}/{steps}/{langs}.units.h5"
            if STUDY.keep_activations
            else temp("<results>/activations/{model}/{steps}/{langs}.units.h5")
        ),
        tokens="<results>/activations/{model}/{steps}/{langs}.tokens.h5",
    log:
        "<logs>/extract_activations/{model}/{steps}/{langs}.log",
    benchmark:
        "<benchmarks>/extract_activations/{model}/{steps}/{langs}.tsv"
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("extract_activations"),
        activations_gb=activations_gb,
        gpu=1,
    params:
        folders=folders(steps_of),
        langs=langs_of,
        settings=run_settings,
        seed=STUDY.seed,
        version=version("extract_activations"),
    message:
        "run {wildcards.model}, step {wildcards.steps}, over the sentences in {wildcards.langs}"
    script:
        "../scripts/extract_activations.py"


rule collect_extraction:
    input:
        expand(each("<results>/activations/{model}/{steps}/{{langs}}.tokens.h5"), langs=LANGS),
    output:
        report("<results>/tables/extraction.tsv", category="tables", labels={"table": "extraction"}),
    log:
        "<logs>/collect_extraction.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_extraction"),
    params:
        languages=list(STUDY.languages),
        version=version("collect_extraction"),
    message:
        "collect what the activations were computed from"
    script:
        "../scripts/collect_extraction.py"
