/* ack.c: acknowledgements of an ingest (ack.h). */
#include "tools/ack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/tool.h"

enum { POLL_MS = 20 };

struct ack_entry {
    uint64_t ticket, rows_total;
};

struct ack {
    mote_db *db;
    int event_fd, file_fd, file_errno;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t room;
    uint64_t first, next; /* entries [first, next) are pending */
    uint64_t rows;
    bool stop;
    struct ack_entry entries[ACK_PENDING_MAX];
};

/* Moves on to what is durable; with the mutex held. True if there is something new to write. */
static bool advance(struct ack *ack)
{
    uint64_t durable = mote_durable_seq(ack->db);
    bool moved = false;
    while (ack->first < ack->next && ack->entries[ack->first % ACK_PENDING_MAX].ticket <= durable) {
        ack->rows = ack->entries[ack->first++ % ACK_PENDING_MAX].rows_total;
        moved = true;
    }
    if (moved)
        pthread_cond_signal(&ack->room);
    return moved;
}

static void write_line(struct ack *ack, uint64_t rows)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%llu\n", (unsigned long long)rows);
    if (ack->file_fd < 0 || ack->file_errno)
        return;
    ssize_t done;
    do {
        done = write(ack->file_fd, line, (size_t)length);
    } while (done < 0 && errno == EINTR);
    if (done != length)
        ack->file_errno = done < 0 ? errno : EIO;
}

static void *run(void *context)
{
    struct ack *ack = context;
    struct pollfd poller = {.fd = ack->event_fd, .events = POLLIN};
    for (;;) {
        /* The time limit only covers the moment of stopping. */
        if (poll(&poller, 1, POLL_MS) > 0) {
            uint64_t count;
            if (read(ack->event_fd, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
                ack->event_fd = -1;
        }
        pthread_mutex_lock(&ack->mutex);
        bool stop = ack->stop;
        bool moved = advance(ack);
        uint64_t rows = ack->rows;
        pthread_mutex_unlock(&ack->mutex);
        if (moved)
            write_line(ack, rows);
        if (stop)
            return NULL;
    }
}

bool ack_start(mote_db *db, const char *file, struct ack **result, int *system_errno)
{
    struct ack *ack = tool_alloc(sizeof *ack);
    *result = NULL;
    *system_errno = 0;
    ack->db = db;
    ack->file_fd = -1;
    ack->file_errno = 0;
    ack->first = ack->next = ack->rows = 0;
    ack->stop = false;
    if (file) {
        ack->file_fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (ack->file_fd < 0) {
            *system_errno = errno;
            free(ack);
            return false;
        }
    }
    ack->event_fd = mote_durable_eventfd(db);
    pthread_mutex_init(&ack->mutex, NULL);
    pthread_cond_init(&ack->room, NULL);
    if (ack->event_fd >= 0) {
        *system_errno = pthread_create(&ack->thread, NULL, run, ack);
        if (*system_errno == 0) {
            *result = ack;
            return true;
        }
    }
    if (ack->file_fd >= 0)
        close(ack->file_fd);
    free(ack);
    return false;
}

void ack_push(struct ack *ack, uint64_t ticket, uint64_t rows_total)
{
    pthread_mutex_lock(&ack->mutex);
    while (ack->next - ack->first == ACK_PENDING_MAX) {
        uint64_t oldest = ack->entries[ack->first % ACK_PENDING_MAX].ticket;
        pthread_mutex_unlock(&ack->mutex);
        /* Of a level that puts commits off, this many batches ask for one. An error shows at the next append. */
        int code = mote_wait(ack->db, oldest, MOTE_FOREVER);
        pthread_mutex_lock(&ack->mutex);
        if (code) {
            pthread_mutex_unlock(&ack->mutex);
            return;
        }
        while (ack->next - ack->first == ACK_PENDING_MAX)
            pthread_cond_wait(&ack->room, &ack->mutex);
    }
    ack->entries[ack->next++ % ACK_PENDING_MAX] = (struct ack_entry){ticket, rows_total};
    pthread_mutex_unlock(&ack->mutex);
}

uint64_t ack_rows(struct ack *ack)
{
    pthread_mutex_lock(&ack->mutex);
    uint64_t rows = ack->rows;
    pthread_mutex_unlock(&ack->mutex);
    return rows;
}

int ack_finish(struct ack *ack, uint64_t *rows)
{
    pthread_mutex_lock(&ack->mutex);
    ack->stop = true;
    pthread_mutex_unlock(&ack->mutex);
    pthread_join(ack->thread, NULL);
    *rows = ack->rows;
    int file_errno = ack->file_errno;
    if (ack->file_fd >= 0 && close(ack->file_fd) < 0 && !file_errno)
        file_errno = errno;
    pthread_cond_destroy(&ack->room);
    pthread_mutex_destroy(&ack->mutex);
    free(ack);
    return file_errno;
}
