/* health.h: what a device tells of its own wear: an NVMe namespace by its SMART / health log page (needs CAP_SYS_ADMIN and the kernel's passthrough), eMMC by sysfs. Others tell nothing here: known is false. Reads only; any thread; may take
 * milliseconds. */
#ifndef MOTE_BLOCKDEV_HEALTH_H
#define MOTE_BLOCKDEV_HEALTH_H

#include "blockdev/blockdev.h"

struct blockdev_health {
    bool known;
    char source[32];         /* "NVMe", "eMMC"; else why nothing is known, in a few words */
    uint32_t used_percent;   /* of the rated endurance, by the maker's estimate; may exceed 100. eMMC tells it in tenths, rounded up here */
    uint32_t spare_percent;  /* spare blocks that are left; NVMe only */
    uint32_t warnings;       /* NVMe: the critical warning bits. eMMC: 1 when most spare blocks are used, 2 when nearly all */
    uint64_t written_bytes;  /* by the host over the device's life; 0: not told */
    uint64_t power_on_hours, media_errors;
};
void blockdev_get_health(struct blockdev *device, struct blockdev_health *health);

/* A SMART / health log page of 512 bytes (NVM Express Base Specification, log page 02h), and the two files of eMMC ("0x01 0x02", "0x01"). For blockdev_get_health and tests. */
#define HEALTH_NVME_PAGE_BYTES 512u
void health_from_nvme(const uint8_t page[HEALTH_NVME_PAGE_BYTES], struct blockdev_health *health);
bool health_from_emmc(const char *life_time, const char *pre_eol_info, struct blockdev_health *health);

#endif
