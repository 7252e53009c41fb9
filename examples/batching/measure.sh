#!/usr/bin/env bash
# What batch size and linger cost: sends the same clicks with different settings
# to a fresh server each time and prints one line per setting. docs/batching.md
# explains the columns. Needs the built binary (make build), curl and awk.
#
#   examples/batching/measure.sh             # both tables, about a minute
#   EVENTS=1000000 examples/batching/measure.sh
set -euo pipefail
binary=$(realpath "${BINARY:-bin/millrace}")
events=${EVENTS:-200000} # of the table "as fast as possible"
paced=${PACED:-10000}    # of the table "2,000 per second"
work=$(mktemp -d)
server=
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

"$binary" version -o table
seq "$((events > paced ? events : paced))" |
	awk '{printf "{\"user_id\":\"user_%d\",\"timestamp\":1768473069,\"page\":\"/\"}\n", $1 % 1000}' >"$work/clicks"

start() {
	rm -rf "$work/data"
	"$binary" serve --kafka-addr :0 --http-addr :0 --data-dir "$work/data" --log-level error >"$work/ready" &
	server=$!
	until grep -q ^ready "$work/ready"; do sleep 0.02; done
	brokers=$(sed 's/.*kafka=\([^ ]*\).*/\1/' "$work/ready")
	http=$(sed 's/.*http=\([^ ]*\).*/\1/' "$work/ready")
}

metric() { curl -s "$http/metrics" | awk -v name="$1" 'index($0, name " ") == 1 {print $2}'; }

# measure LINES FLAGS...: one line of the table.
measure() {
	local lines=$1 began ended acked
	shift
	start
	began=$(date +%s.%N)
	acked=$(head -n "$lines" "$work/clicks" | "$binary" produce click_events --brokers "$brokers" -o json "$@" 2>/dev/null |
		awk -F'[:,]' '/mean_ack_ms/ {print $2}')
	ended=$(date +%s.%N)
	awk -v flags="$*" -v n="$lines" -v took="$(awk "BEGIN {print $ended - $began}")" -v ack="$acked" \
		-v requests="$(metric 'millrace_broker_request_duration_seconds_count{api="Produce"}')" \
		-v syncs="$(metric millrace_broker_fsync_duration_seconds_count)" \
		-v bytes="$(metric 'millrace_broker_produce_bytes_total{topic="click_events"}')" \
		'BEGIN {printf "%-52s %9.0f %9.1f %9d %7d %8.1f\n", flags, n / took, ack, requests, syncs, bytes / n}'
	kill "$server"
	wait "$server"
}

header() { printf '\n%s\n%-52s %9s %9s %9s %7s %8s\n' "$1" FLAGS PER-SEC ACK-MS REQUESTS SYNCS B/EVENT; }

header "$events clicks as fast as possible"
for size in 1000 16384 131072 1000000; do measure "$events" --batch-size "$size"; done
for codec in gzip snappy lz4 zstd; do measure "$events" --batch-size 131072 --compression "$codec"; done
measure "$events" --batch-size 131072 --acks 1

header "$paced clicks at 2000 per second"
for linger in 0s 1ms 5ms 20ms 100ms; do measure "$paced" --rate 2000 --linger "$linger"; done
measure "$paced" --rate 2000 --linger 5ms --acks 1
