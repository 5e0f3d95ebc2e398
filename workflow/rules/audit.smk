"""The audit: is every checkpoint what its name says?

Reads   a checkpoint's folder, <results>/sentences/{lang}.tsv
Writes  <results>/audit/{model}/{step}.h5             hashes, a sketch of the weights, held-out losses
        <results>/tables/audit.tsv, audit_losses.tsv  what is out of line, and why
"""

for batch in STEP_BATCHES:

    rule:
        name:
            batch.rule("audit_checkpoint")
        input:
            model=batch_model_files(batch),
            sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
        output:
            expand("<results>/audit/{{model}}/{step}.h5", step=batch.step_paths),
        log:
            f"<logs>/audit_checkpoint/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/audit_checkpoint/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
        conda:
            "../../envs/gpu.yaml"
        resources:
            **needs("audit_checkpoint", batch),
            gpu=1,
        params:
            folders=batch_folders(batch),
            langs=list(STUDY.languages),
            settings=audit_settings,
            version=STAGE_VERSION["audit"],
        message:
            "audit {wildcards.model}: weights and held-out loss"
        script:
            "../scripts/audit_checkpoint.py"


rule collect_audit:
    input:
        each_cell("<results>/audit/{model}/{step}.h5"),
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
        known_faults={model.run_id: dict(model.known_faults) for model in MODELS.values()},
        version=STAGE_VERSION["audit"],
    message:
        "judge which checkpoints are out of line"
    script:
        "../scripts/collect_audit.py"
