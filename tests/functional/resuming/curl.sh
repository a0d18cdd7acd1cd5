#!/bin/sh
# Uploads a file with curl by the IETF draft, and goes on after each cut.
# usage: curl.sh URL IMAGE-ID FILE TOKEN ATTEMPTS
set -u
image=$1/v2/images/$2
file=$3
token=$4
attempts=$5

ask() {
    curl -sS --noproxy '*' -H "X-Auth-Token: $token" "$@"
}

send() {
    ask --fail-with-body -T "$file" -H 'Upload-Complete: ?1' "$@"
}

send -H 'Content-Type: application/octet-stream' "$image/file" && exit 0
while [ "$attempts" -gt 0 ]; do
    attempts=$((attempts - 1))
    state=$(ask -I "$image/upload" | tr -d '\r')
    case $state in *'Upload-Complete: ?1'*) exit 0 ;; esac
    offset=$(printf '%s\n' "$state" | sed -n 's/^Upload-Offset: //p')
    [ -n "$offset" ] || continue
    # -C skips what is there already. Its Content-Range is no part of the draft.
    send -X PATCH -C "$offset" -H 'Content-Range:' -H "Upload-Offset: $offset" \
        -H 'Content-Type: application/partial-upload' "$image/upload" && exit 0
done
exit 1
