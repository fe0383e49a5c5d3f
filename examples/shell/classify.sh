#!/usr/bin/env bash
# classify.sh MODEL TEXT...: prints the label and probability of each text. Needs grpcurl and jq.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 MODEL TEXT..." >&2; exit 2; }

proto=$(dirname "$0")/../../proto # not needed if the server has reflection: leave out -import-path and -proto
address=${TEXT_CLASSIFIER_ADDRESS:-127.0.0.1:50051}
request=$(jq --null-input --arg model "$1" '{$model, texts: $ARGS.positional}' --args -- "${@:2}")

# The deadline is that of each attempt.
classify() {
    grpcurl -plaintext -max-time 5 -emit-defaults -import-path "$proto" \
        -proto text_classifier/v1/text_classifier.proto \
        -d "$request" "$address" text_classifier.v1.TextClassifier/Classify
}

for pause in 0.1 0.2 0.4 0.8 last; do
    if response=$(classify); then
        jq --raw-output '.classifications[] | "\(.label)\t\(.probability)"' <<< "$response"
        exit
    else
        status=$? # grpcurl printed the error with its code, message and google.rpc details
    fi
    case $status in
        1 | 65 | 78) [ $pause = last ] || sleep $pause ;; # no connection, or 64 + CANCELLED or UNAVAILABLE
        *) break ;;
    esac
done
exit "$status"
