"""The audit: is every checkpoint what its name says?

Reads   the checkpoints, <results>/sentences/{lang}.tsv
Writes  <results>/audit/{model}/{steps}.h5            hashes, a sketch of the weights, held-out losses
        <results>/tables/audit.tsv, audit_losses.tsv  what is out of line, and why
"""


rule audit_checkpoint:
    input:
        model=checkpoints(steps_of),
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
    output:
        "<results>/audit/{model}/{steps}.h5",
    log:
        "<logs>/audit_checkpoint/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/audit_checkpoint/{model}/{steps}.tsv"
    priority: AUDIT_FIRST
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("audit_checkpoint"),
        gpu=1,
    params:
        **prefixes(),
        folders=folders(steps_of),
        langs=list(STUDY.languages),
        n_sentences=STUDY.audit.sentences,
        max_length=STUDY.extraction.max_length,
        compute_dtype=lambda wildcards: run_settings(wildcards)["compute_dtype"],
        device=STUDY.extraction.device,
        version=version("audit_checkpoint"),
    message:
        "audit {wildcards.model}, step {wildcards.steps}: weights and held-out loss"
    script:
        "../scripts/audit_checkpoint.py"


rule collect_audit:
    input:
        each("<results>/audit/{model}/{steps}.h5"),
    output:
        audit=report("<results>/tables/audit.tsv", category="tables", labels={"table": "audit"}),
        losses="<results>/tables/audit_losses.tsv",
    log:
        "<logs>/collect_audit.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_audit"),
    params:
        known_faults={name: dict(model.known_faults) for name, model in MODELS.items()},
        version=version("collect_audit"),
    message:
        "judge which checkpoints are out of line"
    script:
        "../scripts/collect_audit.py"
