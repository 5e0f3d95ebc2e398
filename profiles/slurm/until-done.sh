# shellcheck shell=bash
# Sourced by controller.sbatch and one-node.sbatch: inside a Slurm job, have Snakemake run a study until it is done.
#
#   run_study CONFIG ARGUMENTS...     CONFIG may be empty: the default study. ARGUMENTS are Snakemake's.
#
# What may happen                        what is done
#   the study is done, or a job of it      the job ends, with Snakemake's status
#   has failed for good
#   Snakemake is killed (memory, a hand)   `babelscope recover`, and Snakemake again; three times at most
#   the time limit comes near (USR1)       no more jobs are started; those that run are waited for until half a
#                                          minute before the limit; then this job goes back into the queue
#   a node is lost, the job is requeued    Slurm starts the script again, which begins with `babelscope recover`
#   scancel                                the job ends; the same sbatch goes on

run_study() {
  local config=$1 study=() status attempt
  shift
  [ -z "$config" ] || study=(--configfile "$config")
  [ -f Snakefile ] || { echo "submit this from the top of the repository; no Snakefile in $PWD" >&2; exit 2; }
  # What sbatch was called with stays in the environment; if that was a bare shell, the usual place is tried.
  command -v babelscope >/dev/null || PATH=$PWD/.venv/bin:$PATH

  set -m # Snakemake leads a process group, so all that it has started here can be ended with it.
  over='' child='' woken=''
  trap time_is_up USR1
  trap stopped TERM
  for attempt in 1 2 3; do
    take_study "${study[@]}"
    [ -n "$over" ] && back_to_the_queue
    echo "$(date '+%F %T') snakemake ${study[*]} $*"
    snakemake "${study[@]}" "$@" &
    child=$!
    while :; do
      woken=''
      wait "$child" # A signal ends this wait too.
      status=$?
      [ -n "$woken" ] || break
    done
    end_children
    # Status 0 is a study that is done, whatever the time.
    [ -n "$over" ] && [ "$status" != 0 ] && back_to_the_queue
    [ "$status" -lt 128 ] && exit "$status"
    echo "$(date '+%F %T') Snakemake was killed (status $status), for the $attempt. time"
  done
  exit "$status"
}

# Make sure that no other job runs this study, and clear away what a dead one has left. Slurm may not answer, or
# jobs not go, for a while (status 4).
take_study() {
  local attempt status
  for attempt in 1 2 3 4 5; do
    babelscope recover --claim "$@"
    status=$?
    [ "$status" = 0 ] && return
    [ "$status" = 4 ] && [ "$attempt" -lt 5 ] || exit "$status"
    sleep 60 &
    wait $!
  done
}

time_is_up() {
  local ends left
  woken=1
  ends=$(date -d "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e)" +%s) || ends=$(($(date +%s) + 120))
  left=$((ends - $(date +%s)))
  # Where --signal leaves less than a quarter of the time for work, it comes when a quarter has passed.
  if [ "$left" -gt $((3 * SECONDS)) ]; then
    (sleep $(((left - 3 * SECONDS) / 4 + 1)); kill -USR1 $$) &
    return
  fi
  over=1
  echo "$(date '+%F %T') the time limit is near: no more jobs are started"
  [ -n "$child" ] || return
  kill -TERM "$child" 2>/dev/null # Snakemake waits for the jobs that run, and enters what they have made.
  # Half a minute before the end: what still runs then is the next one's to clear away.
  (sleep $((left - 30)); kill -KILL -- "-$child") 2>/dev/null &
}

back_to_the_queue() {
  trap '' TERM # Slurm ends this script now.
  echo "$(date '+%F %T') back to the queue"
  if scontrol requeue "$SLURM_JOB_ID"; then
    sleep 120
  else
    echo "this site lets no job be requeued: submit the same again" >&2
  fi
  exit 1
}

stopped() {
  echo "$(date '+%F %T') ended by Slurm. Jobs that this one has submitted run on; the same sbatch clears them away" \
    "and goes on, and \`babelscope recover\` just clears them away."
  end_children
  exit 143
}

end_children() {
  [ -z "$child" ] || kill -KILL -- "-$child" 2>/dev/null
  child=''
}
