/* health.c: see health.h. The offsets in the NVMe page: 0 critical warning (1 byte), 3 available spare (1), 5 percentage used (1), 48 data units written (16 bytes, thousands of 512 bytes), 128 power-on hours (16), 160 media and data
 * integrity errors (16). Of the 16-byte numbers the upper half is looked at only to saturate. */
#include "blockdev/health.h"

#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "blockdev/probe_private.h"

enum {
    NVME_GET_LOG_PAGE = 0x02,
    NVME_PAGE_SMART = 0x02,
    NVME_UNIT_BYTES = 512 * 1000,
    EMMC_LIFE_MAX = 11, /* exceeded */
};

static uint64_t load_wide(const uint8_t *at) { return load_u64(at + 8) ? UINT64_MAX : load_u64(at); }

void health_from_nvme(const uint8_t page[HEALTH_NVME_PAGE_BYTES], struct blockdev_health *health)
{
    uint64_t units = load_wide(page + 48);
    *health = (struct blockdev_health){.known = true, .source = "NVMe", .warnings = page[0], .spare_percent = page[3], .used_percent = page[5]};
    health->written_bytes = units > UINT64_MAX / NVME_UNIT_BYTES ? UINT64_MAX : units * NVME_UNIT_BYTES;
    health->power_on_hours = load_wide(page + 128);
    health->media_errors = load_wide(page + 160);
}

bool health_from_emmc(const char *life_time, const char *pre_eol_info, struct blockdev_health *health)
{
    unsigned a = 0, b = 0, end = 0;
    if (sscanf(life_time, "%x %x", &a, &b) < 1)
        return false;
    unsigned worst = a > b ? a : b; /* two kinds of memory; 0: not told */
    if (worst == 0 || worst > EMMC_LIFE_MAX)
        return false;
    *health = (struct blockdev_health){.known = true, .source = "eMMC", .used_percent = worst * 10};
    if (sscanf(pre_eol_info, "%x", &end) == 1 && end >= 2 && end <= 3)
        health->warnings = end - 1;
    return true;
}

static bool ask_nvme(int fd, struct blockdev_health *health)
{
    static const uint32_t all_namespaces = UINT32_MAX;
    _Alignas(PAGE_BYTES) uint8_t page[HEALTH_NVME_PAGE_BYTES] = {0};
    struct nvme_admin_cmd command = {.opcode = NVME_GET_LOG_PAGE, .nsid = all_namespaces, .addr = (uint64_t)(uintptr_t)page, .data_len = sizeof page, .timeout_ms = 1000};
    command.cdw10 = NVME_PAGE_SMART | (sizeof page / 4 - 1) << 16;
    if (ioctl(fd, NVME_IOCTL_ADMIN_CMD, &command) != 0)
        return false;
    health_from_nvme(page, health);
    return true;
}

/* The disk's name: "nvme0n1", "mmcblk0p2". */
static void read_name(dev_t number, char *name, size_t name_bytes)
{
    char link[64], target[256];
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(number), minor(number));
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length > 0 ? length : 0] = 0;
    const char *slash = strrchr(target, '/');
    snprintf(name, name_bytes, "%.31s", slash ? slash + 1 : "");
}

void file_health(struct blockdev *device, struct blockdev_health *health)
{
    const struct file_device *file = file_of(device);
    struct stat status;
    char name[32], life[32], end[32] = "";
    if (!device->geometry.block_device || fstat(file->fd, &status) != 0) {
        snprintf(health->source, sizeof health->source, "not a block device");
        return;
    }
    read_name(status.st_rdev, name, sizeof name);
    if (strncmp(name, "nvme", 4) == 0 && !ask_nvme(file->fd, health))
        snprintf(health->source, sizeof health->source, "NVMe, not permitted");
    if (strncmp(name, "mmcblk", 6) == 0 && sysfs_read(status.st_rdev, "device/life_time", life, sizeof life)) {
        (void)sysfs_read(status.st_rdev, "device/pre_eol_info", end, sizeof end);
        (void)health_from_emmc(life, end, health);
    }
}

void blockdev_get_health(struct blockdev *device, struct blockdev_health *health)
{
    *health = (struct blockdev_health){.source = "not told"};
    if (device->ops->health)
        device->ops->health(device, health);
}
