"""babelscope: from language-specific to shared neurons during pre-training.

Where files lie, under results/<study>/ (results/README.md says more):

    corpora/{corpus}/{lang}.jsonl                text to pre-train on
    sentences/{lang}.tsv  concepts/{lang}.tsv    text to analyse, and what each sentence expresses
    tokenizers/{tokenizer}/  tokens/             subwords, and the corpora in them
    models/{model}/{step}/                       one Hugging Face folder per checkpoint
    audit/{model}/{steps}.h5                     its hashes, a sketch of its weights, its held-out losses
    activations/{model}/{steps}/{langs}.*.h5     what the model computes on the sentences
    scores/{model}/{steps}/{langs}.h5            average precision of every unit, until ranked
    best/{model}/{steps}.h5                      the best units of every concept
    choices/{model}/{steps}.parquet              other poolings, sites and numbers of experts
    probes/{model}/{steps}/{layers}.tsv          language probes
    experts/  alignment/  traces/  generation/   per (model, steps)
    language_units/                              the same, where a study asks for this view
    tables/  figures/  report.html               the study as a whole
    logs/  benchmarks/                           per rule, then as above

`{steps}` is one step, or a range of them that one job takes: 128, 0..128. So are `{langs}` and `{layers}`.
"""

from snakemake.utils import min_version

min_version("9.12")

# A study given with --configfile stands alone, and must say so; the demo is the default, not a base to merge into.
if not workflow.config_settings.configfiles and not {"study", "extends"} & config.keys():

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpora.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/probing.smk"
include: "workflow/rules/experts.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/traces.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/views.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,
    models,
    activations,
    scores,
    probes,
    alignment,
    traces,
    generation,
    tables,
    figures,


rule all:
    default_target: True
    input:
        "<results>/report.html",


# Targets for people: `snakemake models`, `snakemake scores`, ...


rule models:
    input:
        [file for model in MODELS.values() for step in model.steps for file in model.files(step)],


rule activations:
    input:
        rules.collect_extraction.input,


rule scores:
    input:
        each("<results>/best/{model}/{steps}.h5"),


rule probes:
    input:
        rules.collect_probes.output,


rule alignment:
    input:
        rules.collect_alignment.output,


rule traces:
    input:
        rules.collect_traces.output if RANGES.tracing else [],


rule generation:
    input:
        rules.collect_generation.output if RANGES.writing else [],


# Every number of the study, without figures and report.
rule tables:
    input:
        TABLES.values(),


rule figures:
    input:
        expand("<results>/figures/{figure}.svg", figure=FIGURES),


rule report:
    input:
        "<results>/report.html",


refuse_unknown_rules()


onstart:
    enter_run(log)


onsuccess:
    announce_report()
