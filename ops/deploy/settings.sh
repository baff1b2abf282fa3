# The environment variables of a command. ops/deploy_settings.py has what each is and may be.

# shellcheck shell=bash

# The function's settings that are passed on as they are.
readonly FUNCTION_SETTINGS=(RECORDINGS_BUCKET FIRESTORE_DATABASE LOG_LEVEL ALLOWED_ORIGINS)
readonly SIGNER_KEY_FILE=/secrets/signer/key.json # where the function finds SIGNER_SECRET

# Runs the tools that need no packages: the operator's own, also once `require_python` has set DEPLOY_PYTHON.
readonly BARE_PYTHON="${DEPLOY_PYTHON:-${PYTHON:-python3}}"

# read_settings COMMAND sets the variables of a command, and the names that follow from them, or stops
# with a line for each that is missing or malformed.
read_settings() {
  local assignments
  if ! command -v "${BARE_PYTHON}" >/dev/null; then
    fail "${BARE_PYTHON} is missing: install Python 3.11 or newer."
  fi
  assignments="$("${BARE_PYTHON}" -m ops.deploy_settings read "$1")"
  eval "${assignments}"
}

# Lets the function judge the environment that it would start in. Where its packages are missing, a dry
# run, which installs nothing, says so and goes on.
check_function_environment() {
  local name faults
  FUNCTION_ENVIRONMENT=("GOOGLE_CLOUD_PROJECT=${PROJECT}")
  for name in "${FUNCTION_SETTINGS[@]}"; do
    if [[ -n "${!name}" ]]; then
      FUNCTION_ENVIRONMENT+=("${name}=${!name}")
    fi
  done
  if [[ -n "${SIGNER_SECRET}" ]]; then
    FUNCTION_ENVIRONMENT+=("RECORDING_SIGNER_KEY_FILE=${SIGNER_KEY_FILE}")
  fi
  readonly FUNCTION_ENVIRONMENT
  if faults="$(
    env -i PATH="${PATH}" "${FUNCTION_ENVIRONMENT[@]}" \
      "${DEPLOY_PYTHON}" -m call_api.settings --check 2>&1
  )"; then
    return
  fi
  if [[ "${DRY_RUN}" == true ]] && ! "${DEPLOY_PYTHON}" -c 'import call_api.settings' 2>/dev/null; then
    echo "(The function's settings are not checked: run \`make install\` first.)" >&2
    return
  fi
  fail "${faults//$'\n'/$'\n'deploy.sh: }"
}
