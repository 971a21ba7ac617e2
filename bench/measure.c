/* measure.c: clock, CPU seconds and percentiles (bench.h). A recorder belongs to one thread. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

enum { SAMPLES_MAX = 1 << 21 };

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sleep_until_ns(uint64_t time_ns)
{
    struct timespec when = {.tv_sec = (time_t)(time_ns / 1000000000u), .tv_nsec = (long)(time_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) != 0) {
    }
}

static double usage_seconds(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double cpu_seconds(void)
{
    return usage_seconds(RUSAGE_SELF) + usage_seconds(RUSAGE_CHILDREN);
}

double machine_cpu_seconds(void)
{
    unsigned long long user = 0, nice = 0, system = 0, idle, wait, irq = 0, softirq = 0;
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return 0;
    int fields = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &softirq);
    fclose(file);
    return fields == 7 ? (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK) : 0;
}

int recorder_open(struct recorder *recorder)
{
    *recorder = (struct recorder){.room = SAMPLES_MAX, .stride = 1, .samples_ns = malloc(SAMPLES_MAX * sizeof(uint64_t))};
    return recorder->samples_ns ? 0 : bench_fail("no memory for samples");
}

void recorder_close(struct recorder *recorder)
{
    free(recorder->samples_ns);
    recorder->samples_ns = NULL;
}

void recorder_add(struct recorder *recorder, uint64_t ns)
{
    if (ns > recorder->max_ns)
        recorder->max_ns = ns;
    if (recorder->seen++ % recorder->stride != 0)
        return;
    if (recorder->count == recorder->room) { /* keep every second one from now on */
        for (size_t i = 0; i < recorder->count / 2; i++)
            recorder->samples_ns[i] = recorder->samples_ns[2 * i];
        recorder->count /= 2;
        recorder->stride *= 2;
    }
    recorder->samples_ns[recorder->count++] = ns;
}

void recorder_merge(struct recorder *recorder, const struct recorder *other)
{
    for (size_t i = 0; i < other->count; i++)
        recorder_add(recorder, other->samples_ns[i]);
    if (other->max_ns > recorder->max_ns)
        recorder->max_ns = other->max_ns;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

uint64_t recorder_quantile_ns(struct recorder *recorder, double quantile)
{
    if (recorder->count == 0)
        return 0;
    if (quantile >= 1)
        return recorder->max_ns;
    qsort(recorder->samples_ns, recorder->count, sizeof recorder->samples_ns[0], compare_u64);
    size_t at = (size_t)(quantile * (double)recorder->count);
    return recorder->samples_ns[at < recorder->count ? at : recorder->count - 1];
}
