/* info_wear.c: what `mote info` says of wear. */
#include <stdio.h>

#include "tools/info_wear.h"

void info_wear_json(struct json *json, const struct mote_wear *wear)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"written_bytes", wear->written_bytes},
        {"written_wal_bytes", wear->written_wal_bytes},
        {"written_flush_bytes", wear->written_flush_bytes},
        {"written_compaction_bytes", wear->written_compaction_bytes},
        {"written_index_bytes", wear->written_index_bytes},
        {"written_manifest_bytes", wear->written_manifest_bytes},
        {"written_superblock_bytes", wear->written_superblock_bytes},
        {"written_other_bytes", wear->written_other_bytes},
        {"written_blob_bytes", wear->written_blob_bytes},
        {"trimmed_bytes", wear->trimmed_bytes},
        {"format_time_s", wear->format_time_s},
        {"age_seconds", wear->age_seconds},
        {"used_seconds", wear->used_seconds},
        {"rated_bytes", wear->rated_bytes},
    };
    const struct {
        const char *name;
        uint64_t value; /* UINT64_MAX: not known */
    } times[] = {
        {"left_seconds_at_life_rate", wear->left_seconds_at_life_rate},
        {"left_seconds_at_use_rate", wear->left_seconds_at_use_rate},
        {"left_seconds_by_device", wear->left_seconds_by_device},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        json_u64(json, numbers[i].name, numbers[i].value);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (times[i].value != UINT64_MAX)
            json_u64(json, times[i].name, times[i].value);
    json_open(json, "health", '{');
    json_bool(json, "known", wear->health_known != 0);
    json_text(json, "source", wear->health_source);
    if (wear->health_known) {
        json_u64(json, "used_percent", wear->device_used_percent);
        json_u64(json, "spare_percent", wear->device_spare_percent);
        json_u64(json, "warnings", wear->device_warnings);
        json_u64(json, "written_bytes", wear->device_written_bytes);
        json_u64(json, "power_on_hours", wear->device_power_on_hours);
        json_u64(json, "media_errors", wear->device_media_errors);
    }
    json_close(json, '}');
}

/* "3.2 years", "5 days", "2.0 hours". */
static void print_time(const char *name, uint64_t seconds)
{
    double hours = (double)seconds / 3600;
    if (seconds == UINT64_MAX)
        return;
    if (hours < 48)
        printf("%-24s %.1f hours\n", name, hours);
    else if (hours < 2 * 365.25 * 24)
        printf("%-24s %.0f days\n", name, hours / 24);
    else
        printf("%-24s %.1f years\n", name, hours / 24 / 365.25);
}

void info_wear_print(const struct mote_wear *wear)
{
    char text[8][32];
    const uint64_t sums[8] = {wear->written_bytes, wear->written_wal_bytes, wear->written_flush_bytes, wear->written_compaction_bytes, wear->written_index_bytes, wear->written_blob_bytes, wear->written_manifest_bytes,
                              wear->written_superblock_bytes + wear->written_other_bytes};
    for (int i = 0; i < 8; i++)
        tool_bytes_text(sums[i], text[i]);
    printf("%-24s %s: log %s, flush %s, compaction %s, indexes %s, blobs %s, manifest %s, other %s\n", "written in its life", text[0], text[1], text[2], text[3], text[4], text[5], text[6], text[7]);
    tool_bytes_text(wear->trimmed_bytes, text[0]);
    printf("%-24s %s\n", "trimmed in its life", text[0]);
    print_time("age", wear->age_seconds);
    print_time("in use for", wear->used_seconds);
    if (wear->health_known) {
        printf("%-24s %s: %u %% of its endurance used, %llu media errors%s\n", "device's wear", wear->health_source, wear->device_used_percent, (unsigned long long)wear->device_media_errors,
               wear->device_warnings ? ", and it WARNS" : "");
        print_time("lasts, says the device", wear->left_seconds_by_device);
    } else {
        printf("%-24s unknown (%s)\n", "device's wear", wear->health_source);
    }
    if (wear->rated_bytes) {
        print_time("lasts, at this age", wear->left_seconds_at_life_rate);
        print_time("lasts, in hours of use", wear->left_seconds_at_use_rate);
    }
}
