# Logging, dry runs, what exists, and transient failures. It knows nothing of this function.
#
# Calls of gcloud go through one of five functions, so that a dry run can print them instead:
#
#   run       changes something, once
#   retry     changes something that may be done twice, such as a grant
#   query     prints an answer of gcloud
#   exists    tests whether a resource exists
#   state_of  prints a resource's state, or nothing where there is none
#
# Two calls do not, since no dry run comes to them: that of `is_disabled_here` below, and the one by which a
# canary gives the traffic back.
#
# A failure is transient or permanent, by gcloud's own words. Only a transient one is tried again.
#
# RETRY_PAUSE_SECONDS, and the variables DEPLOY_PYTHON and DEPLOY_FIREBASE of other files, come from the
# environment in tests alone.

# shellcheck shell=bash

DRY_RUN=false

# Whether a dry run takes resources to exist: false for commands that create, true for those that
# read or delete.
ASSUME_EXISTING=false
assume_existing() {
  ASSUME_EXISTING=true
}

exec 3>&1 # where a dry run prints, also from within $(…)

# The files of this run. A folder for each: two runs from one clone must not read each other's.
SCRATCH=.local/deploy
make_scratch() {
  mkdir -p "${SCRATCH}"
  SCRATCH="$(mktemp -d "${SCRATCH}/XXXXXX")"
  trap 'rm -rf "${SCRATCH}"' EXIT
}

fail() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}

# Logs progress. A dry run prints commands only.
log() {
  if [[ "${DRY_RUN}" == false ]]; then
    printf '%s\n' "$*" >&2
  fi
}

# Prints a part of the result. A dry run prints commands only.
print() {
  if [[ "${DRY_RUN}" == false ]]; then
    printf '%s\n' "$*"
  fi
}

# Prints a command on one line, quoted for a shell.
print_command() {
  local word line='' quoted="'\\''"
  for word in "$@"; do
    if [[ ! "${word}" =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
      word="'${word//\'/${quoted}}'"
    fi
    line+="${line:+ }${word}"
  done
  printf '%s\n' "${line}" >&3
}

# What gcloud says of a failure. A bare "404" can be part of a project's ID or number.
readonly NOT_FOUND='NOT_FOUND|status=\[404\]|HTTPError 404|[Nn]ot found: 404|was not found|could not be found|does not exist|Cannot find'
readonly FORBIDDEN='PERMISSION_DENIED|status=\[403\]|HTTPError 403'
# An API that was enabled a moment ago is not enabled everywhere yet. Nothing has been done then.
readonly API_DISABLED='SERVICE_DISABLED|has not been used in project'
# An outage, a quota, or a change that somebody else makes at the same time.
readonly OUTAGE='UNAVAILABLE|ABORTED|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|INTERNAL|status=\[(409|429|5..)\]|HTTPError (409|429|5..)|[Cc]onnection (aborted|broken|reset)|timed out'
# A service account or an identity pool that was created a moment ago is not known everywhere yet.
readonly UNKNOWN_ACCOUNT='[Ss]ervice account .* does not exist|Identity Pool does not exist'

# said PHRASES tests what the last command said.
said() {
  grep -qE -- "$1" "${SCRATCH}/said"
}

# Runs a command whose messages are seen at once.
aloud() {
  { "$@" 2>&1 >&4 | tee "${SCRATCH}/said" >&2; } 4>&1
}

# Runs a command whose messages are seen only if the caller prints them.
quietly() {
  "$@" 2>"${SCRATCH}/said"
}

# attempt PHRASES COMMAND... runs a command up to five times, in a minute or so: again where it failed with
# such a phrase. Any other failure is permanent, so it counts at once.
attempt() {
  local phrases="$1" pause
  shift
  for pause in 1 2 4 8 ''; do
    if "$@"; then
      return 0
    fi
    if [[ -z "${pause}" ]] || ! said "${phrases}"; then
      return 1
    fi
    sleep "$((pause * ${RETRY_PAUSE_SECONDS:-5}))"
  done
}

# Runs a command that changes something. One that may have done so before it failed is not run again.
run() {
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
  else
    attempt "${API_DISABLED}" aloud "$@"
  fi
}

# Runs a command that changes the same thing once, however often it runs, such as a grant.
retry() {
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
  else
    attempt "${API_DISABLED}|${OUTAGE}|${UNKNOWN_ACCOUNT}" aloud "$@"
  fi
}

# query PLACEHOLDER COMMAND... prints the output of a command, or in a dry run the placeholder.
query() {
  local placeholder="$1" output
  shift
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
    if [[ -n "${placeholder}" ]]; then
      printf '%s\n' "${placeholder}"
    fi
    return
  fi
  if output="$(attempt "${API_DISABLED}|${OUTAGE}" quietly "$@")"; then
    cat "${SCRATCH}/said" >&2
    printf '%s' "${output:+${output}$'\n'}"
  else
    cat "${SCRATCH}/said" >&2
    return 1
  fi
}

# Tests whether a resource exists, by the command that describes it.
exists() {
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
    [[ "${ASSUME_EXISTING}" == true ]]
  else
    found "$@" >/dev/null
  fi
}

# Prints what the command's --format picks of a resource, such as its state; nothing if there is none.
state_of() {
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
  else
    found "$@" || true
  fi
}

# Runs a command that describes a resource, and tells whether there is one. Any error but "not found" stops
# the run: a resource that cannot be seen must not be created a second time. An API that is disabled in PROJECT
# has no resources there, but a command that creates has just enabled it.
found() {
  local passing="${OUTAGE}"
  if [[ "${ASSUME_EXISTING}" == false ]]; then
    passing+="|${API_DISABLED}"
  fi
  if attempt "${passing}" quietly "$@"; then
    return 0
  fi
  if said "${API_DISABLED}" && [[ "${ASSUME_EXISTING}" == true ]] && is_disabled_here; then
    return 1
  fi
  if said "${NOT_FOUND}" && ! said "${FORBIDDEN}"; then
    return 1
  fi
  fail "cannot tell whether something exists, by \`$*\`: $(<"${SCRATCH}/said")"
}

# Tells whether the API that was said to be disabled is so in PROJECT. It may be so in another one, whose quota
# gcloud uses.
is_disabled_here() {
  local api enabled
  api="$(grep -oE '[a-z]+[.]googleapis[.]com' "${SCRATCH}/said" | awk 'NR == 1')"
  enabled="$(gcloud services list --enabled --project="${PROJECT}" --format='value(config.name)')" || return
  [[ -n "${api}" && $'\n'"${enabled}"$'\n' != *$'\n'"${api}"$'\n'* ]]
}

# require_arguments COMMAND MOST ARGUMENT... stops if there are more than MOST arguments.
require_arguments() {
  local command="$1" most="$2"
  shift 2
  if (($# > most)); then
    shift "${most}"
    fail "${command} takes no argument $1: see ./deploy.sh ${command} --help."
  fi
}
