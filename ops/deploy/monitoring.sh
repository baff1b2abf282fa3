# Names of uptime checks, alert policies, metrics and dashboards, for the commands alerts and delete.

# shellcheck shell=bash

# Prints the path of a file in ops/, or of a copy with another FUNCTION in place of get-call. It is letters,
# digits and hyphens, which neither JSON nor YAML needs quoted.
renamed() {
  if [[ "${FUNCTION}" == get-call ]]; then
    printf '%s\n' "$1"
    return
  fi
  if [[ "${DRY_RUN}" == false ]]; then
    mkdir -p "${SCRATCH}/$(dirname "$1")"
    sed "s/get-call/${FUNCTION}/g" "$1" >"${SCRATCH}/$1" || return
  fi
  printf '%s\n' "${SCRATCH}/$1"
}

# Prints the display name in the file of a policy or dashboard. It identifies the deployed one.
display_name_in() {
  if [[ "${DRY_RUN}" == true ]]; then
    echo DISPLAY-NAME
  else
    "${BARE_PYTHON}" -m ops.display_name "$1"
  fi
}

# Reads lines of display name and resource name, and prints the resource name for a display name.
resource_named() {
  awk -F '\t' -v wanted="$1" '$1 == wanted { print $2; exit }'
}

list_policies() {
  query "$1" gcloud alpha monitoring policies list \
    --project="${PROJECT}" \
    --format='value(displayName,name)'
}

list_dashboards() {
  query "$1" gcloud monitoring dashboards list \
    --project="${PROJECT}" \
    --format='value(displayName,name)'
}

# Prints the display name of a region's uptime check. It identifies the check.
uptime_check_of() {
  printf '%s in %s\n' "${FUNCTION}" "$1"
}

list_uptime_checks() {
  query "$1" gcloud monitoring uptime list-configs \
    --project="${PROJECT}" \
    --format='value(displayName,name)'
}
