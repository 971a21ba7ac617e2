/* superblock_magic.h: the first eight bytes of every superblock slot, hence of every device that mote formatted. Shared by the superblock's codec and by
 * probe_content.c, which recognises mote before libblkid is asked. */
#ifndef MOTE_BLOCKDEV_SUPERBLOCK_MAGIC_H
#define MOTE_BLOCKDEV_SUPERBLOCK_MAGIC_H

#define SUPERBLOCK_MAGIC "MOTEsb\0\1"
#define SUPERBLOCK_MAGIC_BYTES 8u

#endif
