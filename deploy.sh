#!/usr/bin/env bash
#
# Deploys the function to a Google Cloud project: directly, behind API Gateway, behind a load balancer and
# from CI. Monitors it, rolls it back and removes it there: see `./deploy.sh --help`.
#
# This is a dispatcher. Each command is a file of that name in ops/deploy/, whose header is its help
# and whose function run_COMMAND does the work. What commands share is in:
#
#   lib.sh         logging, dry runs, what exists, failures that pass
#   settings.sh    the environment variables
#   project.sh     requirements and set-up of the project
#   deployment.sh  deploying the source, for the commands function, gateway and canary
#   grants.sh      what the function's account is granted, for the commands function, gateway and delete
#   traffic.sh     which revisions get the requests, for the commands canary and rollback
#   balancer.sh    the load balancer of the command edge, for those that meet it
#   monitoring.sh  names of policies and dashboards, for the commands alerts and delete

# A command that fails ends the run; but errexit does not hold in a function that `if`, `!` or `||` tests, nor
# in $(…), since Bash 3.2, macOS's, has no inherit_errexit. There, each step that may fail ends with `|| return`.
set -euo pipefail

# In the order of the help.
readonly COMMANDS=(function gateway edge site alerts ci canary status rollback delete)

# The directory of this file, also when it is called through a symbolic link. macOS before 12.3 has
# no `readlink -f`.
script="${BASH_SOURCE[0]}"
while [[ -L "${script}" ]]; do
  target="$(readlink "${script}")"
  if [[ "${target}" != /* ]]; then
    target="$(dirname "${script}")/${target}"
  fi
  script="${target}"
done
CDPATH='' cd -- "$(dirname "${script}")"

source ops/deploy/lib.sh
source ops/deploy/settings.sh
source ops/deploy/project.sh

# Prints the header of a file in ops/deploy/ without its comment signs and its summary.
header_of() {
  sed -n -e '/^#/!q' -e '/^# summary: /d' -e 's/^# \{0,1\}//p' "ops/deploy/$1.sh"
}

summary_of() {
  sed -n 's/^# summary: //p' "ops/deploy/$1.sh"
}

usage() {
  local command
  printf 'usage: ./deploy.sh COMMAND [--dry-run]\n\n'
  for command in "${COMMANDS[@]}"; do
    printf '  %-10s %s\n' "${command}" "$(summary_of "${command}")"
  done
  printf '\n  --dry-run  print every command that would be run, and run none\n'
  printf '  --help     after a command, print its help\n\n'
  "${BARE_PYTHON}" -m ops.deploy_settings help
}

require_command() {
  local command
  for command in "${COMMANDS[@]}"; do
    if [[ "${command}" == "$1" ]]; then
      return
    fi
  done
  fail "there is no command $1: see ./deploy.sh --help."
}

main() {
  local command="${1:-}" argument
  local arguments=()
  case "${command}" in
    --help | -h)
      usage
      return
      ;;
    '')
      usage >&2
      exit 1
      ;;
  esac
  require_command "${command}"
  shift
  for argument in "$@"; do
    case "${argument}" in
      --help | -h)
        header_of "${command}"
        return
        ;;
      --dry-run) DRY_RUN=true ;;
      '') fail "an argument of ${command} is empty: see ./deploy.sh ${command} --help." ;;
      -*) fail "${command} has no option ${argument}: see ./deploy.sh ${command} --help." ;;
      *) arguments+=("${argument}") ;;
    esac
  done
  readonly DRY_RUN
  if [[ "${DRY_RUN}" == false ]]; then
    make_scratch
  fi
  read_settings "${command}"
  # shellcheck source=/dev/null
  source "ops/deploy/${command}.sh"
  "run_${command}" ${arguments[@]+"${arguments[@]}"}
}

main "$@"
