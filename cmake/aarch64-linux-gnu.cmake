# Cross-compiles for aarch64 with Debian's gcc-aarch64-linux-gnu: `cmake --preset arm64 && ninja -C build-arm64`.
#
# The libraries come from multiarch (`dpkg --add-architecture arm64`, then the -dev packages with :arm64), or, where these would displace the packages of the build machine,
# out of a folder that holds them: -DMOTE_ARM64_SYSROOT=FOLDER or the environment variable of that name. With qemu-user-static installed ctest runs the programs under it: all but those of
# tests/unit as they are; Criterion starts its own program again, so that these also need the kernel's binfmt_misc to know qemu (Debian's package sees to it) and, with a folder, QEMU_LD_PREFIX=FOLDER.
# qemu's user mode has neither io_uring nor libaio and ignores MADV_WIPEONFORK: what tests these fails there and needs a machine, or qemu-system-aarch64.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_OBJCOPY aarch64-linux-gnu-objcopy)

set(MOTE_ARM64_SYSROOT "$ENV{MOTE_ARM64_SYSROOT}" CACHE PATH "Folder with arm64 headers and libraries; empty: multiarch")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MOTE_ARM64_SYSROOT)
if(MOTE_ARM64_SYSROOT)
  set(CMAKE_SYSROOT "${MOTE_ARM64_SYSROOT}")
  set(CMAKE_FIND_ROOT_PATH "${MOTE_ARM64_SYSROOT}")
  set(ENV{PKG_CONFIG_SYSROOT_DIR} "${MOTE_ARM64_SYSROOT}")
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# Only the target's own folders: a library of the build machine that is found by name would fail at the link, far from its cause.
set(CMAKE_IGNORE_PATH /usr/lib/x86_64-linux-gnu /lib/x86_64-linux-gnu)
set(ENV{PKG_CONFIG_LIBDIR} "${MOTE_ARM64_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${MOTE_ARM64_SYSROOT}/usr/share/pkgconfig")

find_program(MOTE_QEMU_AARCH64 NAMES qemu-aarch64-static qemu-aarch64)
if(MOTE_QEMU_AARCH64)
  if(MOTE_ARM64_SYSROOT)
    set(CMAKE_CROSSCOMPILING_EMULATOR "${MOTE_QEMU_AARCH64};-L;${MOTE_ARM64_SYSROOT}")
  else()
    set(CMAKE_CROSSCOMPILING_EMULATOR "${MOTE_QEMU_AARCH64}")
  endif()
endif()
