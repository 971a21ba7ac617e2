# The command `mote` with its other names mkfs.mote and fsck.mote, and the tests of what it is made of.
if(NOT MOTE_TOOLS)
  return()
endif()
# jemalloc is the allocator of the executables; nothing calls it by name, so the linker must not leave it out. Sanitizers bring
# an allocator of their own, and two do not go together.
if(NOT MOTE_SANITIZE)
  pkg_check_modules(JEMALLOC REQUIRED jemalloc)
  set(MOTE_ALLOCATOR "SHELL:-Wl,--push-state,--no-as-needed ${JEMALLOC_LINK_LIBRARIES} -Wl,--pop-state")
endif()

file(GLOB MOTE_TOOL_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tools/*.c)
list(REMOVE_ITEM MOTE_TOOL_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/tools/main.c)
add_library(mote_tool_parts STATIC ${MOTE_TOOL_SOURCES})
target_link_libraries(mote_tool_parts PUBLIC mote_internal)
mote_compile_options(mote_tool_parts)

add_executable(mote_tool tools/main.c)
set_target_properties(mote_tool PROPERTIES OUTPUT_NAME mote RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tools)
target_link_libraries(mote_tool PRIVATE mote_tool_parts)
target_link_options(mote_tool PRIVATE ${MOTE_ALLOCATOR})
mote_compile_options(mote_tool)
add_custom_command(TARGET mote_tool POST_BUILD
  COMMAND ${CMAKE_COMMAND} -E create_symlink mote mkfs.mote
  COMMAND ${CMAKE_COMMAND} -E create_symlink mote fsck.mote
  WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/tools)

install(TARGETS mote_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${CMAKE_BINARY_DIR}/tools/mkfs.mote ${CMAKE_BINARY_DIR}/tools/fsck.mote DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES tools/mote.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)

# Plain programs, each ending with a line "N passed, N failed".
if(MOTE_TESTS)
  enable_testing()
  file(GLOB MOTE_TOOL_TESTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/tools/*_test.c)
  foreach(source ${MOTE_TOOL_TESTS})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE mote_tool_parts)
    mote_compile_options(${name})
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS tools TIMEOUT 300)
  endforeach()
endif()
