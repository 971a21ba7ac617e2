#!/usr/bin/env bash
# badinput_test.sh: what is wrong is refused with a sentence that names it, with the right exit code, and with nothing written: lines, schemas, options, devices.
. "$(dirname "$0")/lib.sh"

# ---- Lines ----
volume a.img
printf 'n,x,b\n1,0.5,true\n2,0.25,false\n' >good.csv
expect test_ingest_good 0 "$MOTE" ingest --quiet a.img t good.csv
# bad NAME LINE COLUMN EXPECTED CSV: two good rows before the bad line, in the same batch; the table must keep its two rows.
bad() {
    printf 'n,x,b\n10,1.5,true\n11,2.5,true\n%b' "$5" >bad.csv
    expect "test_ingest_$1_is_refused" 1 "$MOTE" ingest --quiet a.img t bad.csv --ack bad.ack
    says "test_ingest_$1_names_the_line" err "line $2"
    says "test_ingest_$1_names_the_column" err "column $3"
    says "test_ingest_$1_says_what_was_expected" err "$4"
    expect count 0 "$MOTE" scan a.img t --count
    equal "test_ingest_$1_appends_nothing_of_the_batch" "$(cat out)" 2
    expect "test_ingest_$1_skip_bad" 0 "$MOTE" ingest --json a.img "skip_$1" bad.csv --skip-bad --types n:int64,x:float64,b:bool
    equal "test_ingest_$1_skip_bad_counts" "$(json out lines_skipped)" 1
    equal "test_ingest_$1_skip_bad_goes_on" "$(json out rows)" "${6:-3}"
}
bad word_for_int 4 1 'expected a whole number (int64)' 'x,1,true\n12,3.5,false\n'
bad fraction_for_int 4 1 'expected a whole number (int64)' '1.5,1,true\n12,3.5,false\n'
bad int_out_of_range 4 1 'expected a whole number (int64)' '9223372036854775808,1,true\n12,3.5,false\n'
bad word_for_float 5 2 'expected a number (float64)' '12,3.5,false\n1,0x1p3,true\n'
bad word_for_bool 4 3 'expected true or false (bool)' '1,1,maybe\n12,3.5,false\n'
bad missing_field 4 3 'expected 3 fields, found 2' '1,1\n12,3.5,false\n'
bad surplus_field 4 4 'expected 3 fields, found 4' '1,1,true,9\n12,3.5,false\n'
bad open_quote 4 1 'expected a closing quote' '"1,1,true\n' 2
bad quote_inside 4 2 'expected quotes around a field that holds a quote' '1,a"b,true\n12,3.5,false\n'
bad text_after_quote 4 1 'expected a delimiter or the end of the line after a closing quote' '"1"x,1,true\n12,3.5,false\n'
printf 'n,x,b\n10,1.5,true\n11,2.5,true\n12,oops,true\n' >bad.csv
expect test_ingest_bad_line_after_a_full_batch 1 "$MOTE" ingest --quiet a.img earlier bad.csv --batch 2 --types x:float64 --ack earlier.ack
expect count 0 "$MOTE" scan a.img earlier --count
equal test_ingest_bad_line_keeps_earlier_batches "$(cat out)" 2
equal test_ingest_bad_line_acknowledges_earlier_batches "$(tail -n 1 earlier.ack)" 2
printf 'n,s\n1,\377\n' >bad.csv
expect test_ingest_text_not_utf8_is_refused 1 "$MOTE" ingest --quiet a.img utf8 bad.csv --types n:int64,s:text
says test_ingest_text_not_utf8_says_so err 'expected UTF-8 (text)'
{ printf 'n,s\n1,'; head -c 300000 /dev/zero | tr '\0' a; printf '\n'; } >bad.csv
expect test_ingest_oversized_value_is_refused 1 "$MOTE" ingest --quiet a.img big bad.csv
says test_ingest_oversized_value_names_the_limit err '256 KiB'
{ printf 'n,s,u\n1,'; head -c 200000 /dev/zero | tr '\0' a; printf ,; head -c 200000 /dev/zero | tr '\0' b; printf '\n'; } >bad.csv
expect test_ingest_oversized_row_is_refused 1 "$MOTE" ingest --quiet a.img big2 bad.csv
says test_ingest_oversized_row_names_its_line err 'lines 2 to 2'
printf 'k,v\n1,1\n,2\n' >bad.csv
expect test_ingest_null_key_is_refused 1 "$MOTE" ingest --quiet a.img nullkey bad.csv --key k
says test_ingest_null_key_names_the_line err 'line 3, column 1 (k): expected a value'
printf 'k,v\n1,1\nnan,2\n' >bad.csv
expect test_ingest_nan_key_is_refused 1 "$MOTE" ingest --quiet a.img nankey bad.csv --key k --types k:float64

# ---- Headers and tables ----
expect test_ingest_empty_input_is_refused 1 "$MOTE" ingest --quiet a.img none /dev/null
says test_ingest_empty_input_says_so err 'line 1: expected a header'
printf 'a,b,a\n1,2,3\n' >bad.csv
expect test_ingest_double_name_is_refused 1 "$MOTE" ingest --quiet a.img double bad.csv
says test_ingest_double_name_says_so err 'the name "a" stands twice'
printf 'n,other\n1,2\n' >bad.csv
expect test_ingest_unknown_column_is_refused 1 "$MOTE" ingest --quiet a.img t bad.csv
says test_ingest_unknown_column_names_it err 'no column "other"'
printf 'n\n' >bad.csv
expect test_ingest_header_alone_is_refused 1 "$MOTE" ingest --quiet a.img fresh bad.csv
expect test_ingest_header_alone_into_a_table_is_good 0 "$MOTE" ingest --quiet a.img t bad.csv
expect test_ingest_missing_file_is_refused 1 "$MOTE" ingest --quiet a.img t no.csv
expect test_ingest_unknown_key_is_refused 1 "$MOTE" ingest --quiet a.img fresh good.csv --key nope
expect test_ingest_unknown_time_column_is_refused 1 "$MOTE" ingest --quiet a.img fresh good.csv --time-column nope
expect test_ingest_text_time_column_is_refused 1 "$MOTE" ingest --quiet a.img fresh good.csv --time-column b
expect test_ingest_other_key_of_existing_table_is_refused 1 "$MOTE" ingest --quiet a.img t good.csv --key n
expect test_ingest_other_type_of_existing_table_is_refused 1 "$MOTE" ingest --quiet a.img t good.csv --types n:text
expect test_scan_unknown_table_is_refused 1 "$MOTE" scan a.img nope
expect test_scan_unknown_column_is_refused 1 "$MOTE" scan a.img t --columns nope
expect test_scan_time_without_time_column_is_refused 1 "$MOTE" scan a.img t --from 1
expect test_aggregate_unknown_column_is_refused 1 "$MOTE" aggregate a.img t --columns nope
expect test_aggregate_bucket_without_time_column_is_refused 1 "$MOTE" aggregate a.img t --bucket 1s
says test_aggregate_bucket_without_time_column_says_so err 'no time column'
expect test_aggregate_by_series_without_time_in_the_key_is_refused 2 "$MOTE" aggregate a.img t --by-series
says test_aggregate_by_series_without_time_in_the_key_says_so err 'it has no series'
expect test_latest_without_time_in_the_key_is_refused 2 "$MOTE" latest a.img t
expect test_get_bad_key_is_refused 1 "$MOTE" get a.img t abc
expect test_get_too_many_key_columns_is_refused 1 "$MOTE" get a.img t '"1",2'
expect test_get_bad_key_among_good_ones_is_refused 1 "$MOTE" get a.img t 1 abc
says test_get_bad_key_among_good_ones_is_named err 'found "abc"'
expect test_failure_as_json 1 "$MOTE" scan a.img nope --json
says test_failure_as_json_names_the_code out '"error":"MOTE_ENOTABLE"'

# ---- Usage ----
expect test_mote_without_command 2 "$MOTE"
expect test_mote_unknown_command 2 "$MOTE" frobnicate
expect test_unknown_option 2 "$MOTE" scan a.img t --frobnicate
expect test_missing_operand 2 "$MOTE" scan a.img
expect test_surplus_operand 2 "$MOTE" info a.img b.img
expect test_option_without_value 2 "$MOTE" scan a.img t --limit
expect test_option_with_bad_number 2 "$MOTE" scan a.img t --limit many
expect test_option_with_bad_choice 2 "$MOTE" scan a.img t --format xml
expect test_aggregate_unknown_function 2 "$MOTE" aggregate a.img t --functions median
for length in 1 0s -1s 5x s 1e30h; do
    expect "test_aggregate_bad_bucket_$length" 2 "$MOTE" aggregate a.img t --bucket "$length"
    says "test_aggregate_bad_bucket_${length}_says_what_was_expected" err 'expected a length of time'
done
expect test_bad_durability 2 "$MOTE" ingest a.img t good.csv --durability maybe
expect test_bad_type 2 "$MOTE" ingest a.img fresh good.csv --types n:int65
expect test_bad_time 2 "$MOTE" ingest a.img times good.csv --rate -1
expect test_dump_unknown_structure 2 "$MOTE" dump a.img nonsense
expect test_help 0 "$MOTE" --help
expect test_version 0 "$MOTE" --version
for command in format info ingest get scan latest aggregate verify dump flush checkpoint generate; do
    expect "test_help_of_$command" 0 "$MOTE" $command --help
    says "test_help_of_${command}_shows_usage" out "Usage: mote $command"
done

# ---- Devices ----
expect test_open_missing_device 3 "$MOTE" info nothere.img
head -c 16777216 /dev/zero >blank.img
expect test_open_blank_file_is_foreign 3 "$MOTE" info blank.img
expect test_open_folder 3 "$MOTE" info .
truncate -s 1M small.img
expect test_format_too_small 3 "$MOTE" format small.img
expect test_format_missing_without_size 3 "$MOTE" format new.img
if [ -e new.img ]; then fail test_format_missing_without_size_creates_nothing; else pass; fi
expect test_format_below_dev 2 "$MOTE" format --size 16M /dev/mote-test-nothing
expect test_format_refuses_a_volume 3 "$MOTE" format a.img
says test_format_refusal_names_what_it_found err '"mote"'
expect count 0 "$MOTE" scan a.img t --count
equal test_format_refused_leaves_the_volume "$(cat out)" 2
expect test_format_wrong_force 3 "$MOTE" format --force ext4 a.img
if command -v mkfs.ext4 >/dev/null; then
    truncate -s 16M ext4.img && mkfs.ext4 -q ext4.img
    sha256sum <ext4.img >before
    expect test_format_refuses_ext4 3 "$MOTE" format ext4.img
    says test_format_refusal_names_ext4 err ext4
    sha256sum <ext4.img >after; same test_format_refused_writes_nothing before after
    expect test_format_dry_run_with_force 0 "$MOTE" format --dry-run --force ext4 ext4.img
    sha256sum <ext4.img >after; same test_format_dry_run_writes_nothing before after
    expect test_format_force_named 0 "$MOTE" format --force ext4 ext4.img
    expect test_open_after_format_force 0 "$MOTE" info ext4.img
else
    echo "SKIPPED format over ext4: mkfs.ext4 is not here"
fi
printf x | dd of=blank.img bs=1 seek=5000 conv=notrunc status=none
expect test_format_refuses_data 3 "$MOTE" format blank.img
says test_format_refusal_names_data err '"data"'
expect test_mkfs_by_name 0 "$BIN/mkfs.mote" --force data blank.img
expect test_fsck_by_name 0 "$BIN/fsck.mote" -a -f blank.img
printf '\1\2\3' | dd of=damaged.img bs=1 count=0 status=none
cp a.img damaged.img
# A volume of a newer version: the version stands behind the magic in each slot; a changed slot fails its checksum first, so all are damaged.
for slot in 0 1 2 3; do
    printf '\377\377' | dd of=damaged.img bs=1 seek=$((slot * 4096 + 100)) conv=notrunc status=none
done
expect test_verify_reports_a_damaged_superblock 1 "$MOTE" verify damaged.img
expect test_verify_json 0 "$MOTE" verify a.img --json
says test_verify_json_counts out '"fault_count":0'

# Damage inside the SSTables: every extent's 5000th byte.
expect flush 0 "$MOTE" checkpoint a.img
cp a.img damaged.img
segment=$("$MOTE" dump a.img sst | grep 'table t ' | head -n 1)
extent=$(echo "$segment" | grep -o 'extents [0-9]*' | cut -d' ' -f2)
first=$("$MOTE" dump a.img superblock | grep -o 'bytes from [0-9]*' | head -n 1 | cut -d' ' -f3)
if [ -n "$extent" ] && [ -n "$first" ]; then
    printf '\377\377\377\377' | dd of=damaged.img bs=1 seek=$((first + extent * 1048576 + 90)) conv=notrunc status=none
    expect test_verify_finds_a_damaged_block 1 "$MOTE" verify damaged.img
    expect test_scan_of_a_damaged_block_is_an_error 1 "$MOTE" scan damaged.img t
else
    fail test_dump_sst_lists_segments "$segment"
fi

# A device that fills up: an error, and what was acknowledged is there.
volume full.img 16M
"$MOTE" generate arm --rows 200000 --seed 3 >arm.csv
expect test_ingest_until_full 3 timeout 60 "$MOTE" ingest --quiet full.img arm arm.csv --ack full.ack
acked=$(tail -n 1 full.ack)
at_least test_ingest_until_full_acknowledges_some "${acked:-0}" 1000
expect test_scan_of_a_full_device 0 "$MOTE" scan full.img arm
rows=$(($(wc -l <out) - 1))
at_least test_ingest_until_full_keeps_what_was_acknowledged "$rows" "${acked:-0}"
head -n $((rows + 1)) arm.csv >want; same test_ingest_until_full_keeps_a_prefix want out

# A second opener.
(printf 'n,x,b\n1,1,true\n'; sleep 3) | "$MOTE" ingest --quiet a.img t - &
writer=$!
sleep 1
expect test_open_while_another_has_it 3 "$MOTE" checkpoint a.img --timeout 100
wait $writer || fail test_writer_beside_a_refused_opener
finish
