# shellcheck shell=bash
# Read by the shell that Snakemake starts a job with (BASH_ENV, set by one-node.sbatch): a job that runs a model gets
# a GPU of its own, since in one allocation every job sees all of them and would take the first.
#
# BABELSCOPE_GPUS names them, with commas, BABELSCOPE_GPU_LOCKS is a folder with a lock for each. A lock is held until
# the job's last process has ended. Snakemake starts no more such jobs at once than there are GPUs (resource `gpu`).
case ${BASH_EXECUTION_STRING-} in
  *.pretrain_step.py* | *.audit_checkpoint.py* | *.extract_activations.py* | *.generate_text.py* | \
    *.choose_sentences.py* | *.trace_sentences.py* | *.ablate_experts.py* | *.find_language_units.py* | \
    *.patch_experts.py*)
    for gpu in ${BABELSCOPE_GPUS//,/ }; do
      exec {gpu_lock}>"$BABELSCOPE_GPU_LOCKS/$gpu"
      flock --nonblock "$gpu_lock" && export CUDA_VISIBLE_DEVICES=$gpu && break
      exec {gpu_lock}>&-
    done
    ;;
esac
