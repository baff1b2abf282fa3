# Logging, dry runs, tests for existence and retries. It knows nothing of this function.
#
# Every call of gcloud goes through one of four functions, so that a dry run can print it instead:
#
#   run     changes something
#   query   prints an answer of gcloud
#   exists  tests whether a resource exists
#   retry   is `run`, for changes that depend on another one that is not visible everywhere yet

# shellcheck shell=bash

DRY_RUN=false

# Whether a dry run takes resources to exist: false for commands that create, true for those that
# read or delete.
ASSUME_EXISTING=false
assume_existing() {
  ASSUME_EXISTING=true
}

exec 3>&1 # where a dry run prints, also from within $(…)

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

# Runs a command that changes something.
run() {
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
  else
    "$@"
  fi
}

# query PLACEHOLDER COMMAND... prints the output of a command, or in a dry run the placeholder.
query() {
  local placeholder="$1"
  shift
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
    if [[ -n "${placeholder}" ]]; then
      printf '%s\n' "${placeholder}"
    fi
  else
    "$@"
  fi
}

# Phrases of gcloud's errors. A bare "404" can be part of a project's ID or number.
readonly FORBIDDEN='PERMISSION_DENIED|status=\[403\]|HTTPError 403'
readonly NOT_FOUND='NOT_FOUND|status=\[404\]|HTTPError 404|[Nn]ot found: 404|was not found|could not be found|does not exist|Cannot find'

# Tests whether a resource exists, by the command that describes it. Any error but "not found" stops
# the run: a resource that cannot be seen must not be created a second time.
exists() {
  local output
  if [[ "${DRY_RUN}" == true ]]; then
    print_command "$@"
    [[ "${ASSUME_EXISTING}" == true ]]
    return
  fi
  if output="$("$@" 2>&1 >/dev/null)"; then
    return 0
  fi
  if [[ ! "${output}" =~ ${FORBIDDEN} && "${output}" =~ ${NOT_FOUND} ]]; then
    return 1
  fi
  fail "cannot tell whether something exists, by \`$1 $2 $3 $4\`: ${output}"
}

# Runs a command up to five times. IAM needs a while until a new service account is known everywhere.
retry() {
  local attempt
  for attempt in 1 2 3 4 5; do
    if run "$@"; then
      return 0
    fi
    if ((attempt < 5)); then
      sleep "${RETRY_PAUSE_SECONDS:-5}"
    fi
  done
  return 1
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
