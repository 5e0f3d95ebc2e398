"""Language identity: how well a linear probe tells the language from one token's state.

Reads   <results>/activations/{model}/{steps}/{langs}.tokens.h5, all languages
        <results>/sentences/{lang}.tsv, where sentences have groups
Writes  <results>/probes/{model}/{steps}/{layers}.tsv
        <results>/tables/probes.parquet
"""


rule fit_language_probe:
    input:
        tokens=expand("<results>/activations/{{model}}/{{steps}}/{langs}.tokens.h5", langs=LANGS),
        sentences=(
            expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages) if STUDY.sentence_groups else []
        ),
    output:
        "<results>/probes/{model}/{steps}/{layers}.tsv",
    log:
        "<logs>/fit_language_probe/{model}/{steps}/{layers}.log",
    benchmark:
        "<benchmarks>/fit_language_probe/{model}/{steps}/{layers}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("fit_language_probe"),
    params:
        steps=steps_of,
        layers=layers_of,
        langs=list(STUDY.languages),
        settings=STUDY.probes.model_dump(),
        seed=STUDY.seed,
        version=version("fit_language_probe"),
    message:
        "probe {wildcards.model}, step {wildcards.steps}, layer {wildcards.layers} for the language"
    script:
        "../scripts/fit_language_probe.py"


rule collect_probes:
    input:
        [
            f"<results>/probes/{model}/{steps}/{layers}.tsv"
            for model in MODELS
            for steps in RANGES.analysis[model]
            for layers in RANGES.layers[model]
        ],
    output:
        report("<results>/tables/probes.parquet", category="tables", labels={"table": "language probes"}),
    log:
        "<logs>/collect_probes.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_probes"),
    params:
        version=version("collect_probes"),
    message:
        "collect the language probes"
    script:
        "../scripts/collect_probes.py"
