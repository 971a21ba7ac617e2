# The shared and the static library as they are installed, with headers, pkg-config file and CMake package.
#
# Only mote_* leaves either library. The shared one has a version script. The static one is a single object, made by a partial link, in which every hidden symbol has become local: two
# libraries with a function `cache_get` can then be linked into one program. A partial link needs real machine code, so where link-time optimisation is on the sources
# are compiled once more without it. Neither library links jemalloc: a library that does cannot be loaded by Python (static TLS).
include(CMakePackageConfigHelpers)
find_program(MOTE_OBJCOPY NAMES ${CMAKE_OBJCOPY} objcopy REQUIRED)

add_library(mote_shared SHARED $<TARGET_OBJECTS:mote_objects>)
target_link_libraries(mote_shared PRIVATE ${MOTE_LIBRARIES})
mote_compile_options(mote_shared)
target_link_options(mote_shared PRIVATE LINKER:--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cmake/mote.map)
if(NOT MOTE_SANITIZE)
  target_link_options(mote_shared PRIVATE LINKER:--no-undefined)
endif()
set_target_properties(mote_shared PROPERTIES OUTPUT_NAME mote VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cmake/mote.map EXPORT_NAME mote)
target_include_directories(mote_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

get_target_property(MOTE_OBJECTS_IPO mote_objects INTERPROCEDURAL_OPTIMIZATION)
if(MOTE_OBJECTS_IPO)
  add_library(mote_plain_objects OBJECT EXCLUDE_FROM_ALL ${MOTE_SOURCES})
  target_include_directories(mote_plain_objects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
  target_link_libraries(mote_plain_objects PRIVATE ${MOTE_LIBRARIES})
  mote_compile_options(mote_plain_objects)
  set_target_properties(mote_plain_objects PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
  set(MOTE_STATIC_SOURCE mote_plain_objects)
else()
  set(MOTE_STATIC_SOURCE mote_objects)
endif()
set(MOTE_STATIC_OBJECT ${CMAKE_CURRENT_BINARY_DIR}/mote_static.o)
add_custom_command(OUTPUT ${MOTE_STATIC_OBJECT}
  COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o ${MOTE_STATIC_OBJECT} $<TARGET_OBJECTS:${MOTE_STATIC_SOURCE}>
  COMMAND ${MOTE_OBJCOPY} --localize-hidden ${MOTE_STATIC_OBJECT}
  DEPENDS ${MOTE_STATIC_SOURCE} $<TARGET_OBJECTS:${MOTE_STATIC_SOURCE}>
  COMMAND_EXPAND_LISTS VERBATIM)
set_source_files_properties(${MOTE_STATIC_OBJECT} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
add_library(mote_static STATIC ${MOTE_STATIC_OBJECT})
set_target_properties(mote_static PROPERTIES OUTPUT_NAME mote LINKER_LANGUAGE C EXPORT_NAME mote_static)
target_include_directories(mote_static INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(mote_static INTERFACE uring blkid lz4 zstd utf8proc stemmer aio m Threads::Threads)

install(TARGETS mote_shared mote_static EXPORT mote_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/mote.h include/mote.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(MOTE_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/mote)
install(EXPORT mote_targets NAMESPACE mote:: DESTINATION ${MOTE_PACKAGE_DIR})
configure_package_config_file(cmake/mote-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/mote-config.cmake INSTALL_DESTINATION ${MOTE_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/mote-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mote-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/mote-config-version.cmake DESTINATION ${MOTE_PACKAGE_DIR})

configure_file(cmake/mote.pc.in ${CMAKE_CURRENT_BINARY_DIR}/mote.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mote.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
