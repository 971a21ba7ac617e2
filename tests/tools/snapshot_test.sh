#!/usr/bin/env bash
# snapshot_test.sh: `mote snapshot` and the option --snapshot: what a named snapshot sees stays, through later ingests, a flush and other processes, until it is dropped; bad words are refused.
. "$(dirname "$0")/lib.sh"

rows() { echo k,t,v; for i in $(seq 1 50); do echo "$i,$i,$(($1 * i))"; done; }
rows 1 >first.csv
rows 2 >second.csv
volume a.img
expect test_ingest 0 "$MOTE" ingest --quiet a.img rows first.csv --key k --time-column t --types k:int64,t:timestamp,v:int64
expect test_scan_before 0 "$MOTE" scan a.img rows
cp out before.csv
expect test_snapshot_take_succeeds 0 "$MOTE" snapshot take a.img monday
expect test_snapshot_take_again_is_refused 1 "$MOTE" snapshot take a.img monday
expect test_snapshot_take_without_name_is_usage 2 "$MOTE" snapshot take a.img
expect test_snapshot_of_unknown_verb_is_usage 2 "$MOTE" snapshot turn a.img monday
expect test_snapshot_list_with_name_is_usage 2 "$MOTE" snapshot list a.img monday
expect test_snapshot_list_succeeds 0 "$MOTE" snapshot list a.img
says test_snapshot_list_tells_it out 'monday seq '
expect test_snapshot_list_json_succeeds 0 "$MOTE" snapshot list a.img --json
if python3 -c 'import json; a=json.load(open("out")); assert len(a)==1 and a[0]["name"]=="monday" and a[0]["seq"]>=50' 2>err; then pass; else fail test_snapshot_list_json_is_json "$(tail -n 1 err)"; fi
expect test_ingest_again 0 "$MOTE" ingest --quiet a.img rows second.csv --key k --time-column t --types k:int64,t:timestamp,v:int64
expect test_flush 0 "$MOTE" flush a.img
expect test_scan_of_snapshot_succeeds 0 "$MOTE" scan a.img rows --snapshot monday
same test_scan_of_snapshot_is_as_before before.csv out
expect test_scan_of_present_succeeds 0 "$MOTE" scan a.img rows --key 50 --columns v
printf 'v\n100\n' >want
same test_scan_of_present_is_new want out
expect test_aggregate_of_snapshot_succeeds 0 "$MOTE" aggregate a.img rows --columns v --functions sum --snapshot monday --no-header
says test_aggregate_of_snapshot_is_as_before out '1275'
expect test_scan_of_unknown_snapshot_is_refused 1 "$MOTE" scan a.img rows --snapshot tuesday
expect test_dump_tells_the_snapshot 0 "$MOTE" dump a.img manifest
says test_dump_names_it out 'monday'
expect test_verify_succeeds 0 "$MOTE" verify a.img
expect test_snapshot_drop_succeeds 0 "$MOTE" snapshot drop a.img monday
expect test_snapshot_drop_again_is_refused 1 "$MOTE" snapshot drop a.img monday
expect test_scan_of_dropped_snapshot_is_refused 1 "$MOTE" scan a.img rows --snapshot monday
finish
