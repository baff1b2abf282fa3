# What the runtime account of REGION is granted, and was granted for settings that have changed since.

# shellcheck shell=bash

# Names the grants that only earlier revisions need. Nothing is taken back here: a rollback needs them, and so,
# for an hour, do the links that are out.
name_old_grants() {
  local name read needed='' earlier='' resource
  for name in "${FUNCTION}" "${PRIVATE_FUNCTION}"; do
    read="$(read_by_revisions "${name}")"
    needed+="$(awk 'NR == 1' <<<"${read}") "
    earlier+="$(awk 'NR > 1' <<<"${read}")"$'\n'
  done
  for resource in $(tr ' ' '\n' <<<"${earlier}" | sort -u); do
    if [[ " ${needed} " != *" ${resource} "* ]]; then
      name_if_granted "${resource}"
    fi
  done
}

# Prints what each revision of a function reads, the newest first: its bucket as gs://…, and either the secret
# that signs links or `itself`, which signs in its place.
read_by_revisions() {
  query '' gcloud run revisions list \
    --service="$1" \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --sort-by='~metadata.creationTimestamp' \
    --format='value[separator="|"](spec.containers[0].env,spec.volumes[].secret.secretName)' |
    sed -e "s/.*'RECORDINGS_BUCKET', 'value': '\([^']*\)'.*|/gs:\/\/\1 /" -e 's/ $/ itself/'
}

# Prints the command that takes a grant back, if there is the grant.
name_if_granted() {
  local group name="$1" role granted
  case "$1" in
    gs://*) group='storage buckets' role=roles/storage.objectViewer ;;
    itself) group='iam service-accounts' name="${RUNTIME_ACCOUNT}" role=roles/iam.serviceAccountTokenCreator ;;
    *) group=secrets role=roles/secretmanager.secretAccessor ;;
  esac
  # shellcheck disable=SC2086
  granted="$(
    state_of gcloud ${group} get-iam-policy "${name}" \
      --flatten='bindings[].members' \
      --filter="bindings.role=${role} AND bindings.members=serviceAccount:${RUNTIME_ACCOUNT}" \
      --format='value(bindings.role)' \
      --project="${PROJECT}"
  )"
  if [[ -n "${granted}" ]]; then
    log "Only earlier revisions need this grant. When none of them is to serve again:"
    log "  gcloud ${group} remove-iam-policy-binding ${name} --member=serviceAccount:${RUNTIME_ACCOUNT} --role=${role} --project=${PROJECT}"
  fi
}
