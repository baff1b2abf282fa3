# Which revisions get the function's requests, for the commands canary and rollback.

# shellcheck shell=bash

# list_traffic PLACEHOLDER prints a line for each revision that gets requests or has a tag: its share in
# percent, its name, True if the share is of the latest revision, whichever that is, tag and address.
list_traffic() {
  query "$1" gcloud run services describe "${FUNCTION}" \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --flatten=status.traffic \
    --format='value(status.traffic.percent,status.traffic.revisionName,status.traffic.latestRevision,status.traffic.tag,status.traffic.url)'
}

# Reads such lines, and prints the revision that serves: where a canary was interrupted, the one with the larger
# share, which was there before.
serving_revision() {
  awk -F '\t' '$1 > most { most = $1; name = $2 } END { print name }'
}

# move_traffic FLAG... moves requests or tags. Done twice, it is as done once.
move_traffic() {
  retry gcloud run services update-traffic "${FUNCTION}" \
    "$@" \
    --region="${REGION}" \
    --project="${PROJECT}"
}
