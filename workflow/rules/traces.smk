"""Traces: what the units on show do on every token of a few sentences, over training.

Reads   the checkpoints, <results>/{audit,best}/, <results>/alignment/, <results>/sentences/, <results>/concepts/
Writes  <results>/traces/{model}.sentences.parquet   which units, and their sentences, held over steps
        <results>/traces/{model}/{steps}.parquet     values at every token of these
        <results>/tables/traces.parquet
"""


# At the last step that the audit does not flag, which is known once it ran; so any step may be asked for.
rule choose_sentences:
    input:
        model=checkpoints(real_steps),
        dictionaries=dictionaries(real_steps),
        audit=of_all_steps("<results>/audit/{model}/{steps}.h5"),
        best=of_all_steps("<results>/best/{model}/{steps}.h5"),
        reliability=of_all_steps("<results>/alignment/{model}/{steps}.reliability.parquet"),
        lifelines="<results>/alignment/{model}.lifelines.parquet",
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
        concepts=expand("<results>/concepts/{lang}.tsv", lang=STUDY.languages),
    output:
        "<results>/traces/{model}.sentences.parquet",
    log:
        "<logs>/choose_sentences/{model}.log",
    benchmark:
        "<benchmarks>/choose_sentences/{model}.tsv"
    priority: WRITE
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("choose_sentences"),
        gpu=1,
    params:
        **latents(real_steps),
        folders=folders(real_steps),
        langs=list(STUDY.languages),
        settings=STUDY.traces.model_dump(include={"units", "max_units", "strongest", "random", "lowest"}),
        extraction=run_settings,
        seed=STUDY.seed,
        version=version("choose_sentences"),
    message:
        "choose the sentences on which units of {wildcards.model} are traced"
    script:
        "../scripts/choose_sentences.py"


rule trace_sentences:
    input:
        model=checkpoints(tracing_steps),
        dictionaries=dictionaries(tracing_steps),
        chosen="<results>/traces/{model}.sentences.parquet",
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
    output:
        "<results>/traces/{model}/{steps}.parquet",
    log:
        "<logs>/trace_sentences/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/trace_sentences/{model}/{steps}.tsv"
    priority: WRITE
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("trace_sentences"),
        gpu=1,
    params:
        **latents(tracing_steps),
        folders=folders(tracing_steps),
        langs=list(STUDY.languages),
        extraction=run_settings,
        version=version("trace_sentences"),
    message:
        "trace units of {wildcards.model}, step {wildcards.steps}, through their sentences"
    script:
        "../scripts/trace_sentences.py"


rule collect_traces:
    input:
        each("<results>/traces/{model}/{steps}.parquet", "tracing"),
    output:
        report("<results>/tables/traces.parquet", category="tables", labels={"table": "traces"}),
    log:
        "<logs>/collect_traces.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_traces"),
    params:
        version=version("collect_traces"),
    message:
        "collect the traces of all models and steps"
    script:
        "../scripts/collect_traces.py"
