# Warnings, sanitizers and link-time optimisation, the same for every target of the project.
include(CheckIPOSupported)
check_ipo_supported(RESULT MOTE_IPO LANGUAGES C OUTPUT MOTE_IPO_WHY)

# -ffp-contract=off: gcc fuses a product and a sum into one rounding where the processor can (always on aarch64, never on plain x86-64). Formats, distances and aggregates are
# the same bits on every processor, so each operation rounds for itself.
function(mote_compile_options target)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla -Wno-missing-field-initializers -Werror=implicit-function-declaration
    -Werror=incompatible-pointer-types -Werror=int-conversion -fno-strict-aliasing -ffp-contract=off)
  if(MOTE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${MOTE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${MOTE_SANITIZE})
  elseif(CMAKE_BUILD_TYPE STREQUAL Release AND MOTE_IPO AND NOT CMAKE_C_COMPILER_ID MATCHES Clang)
    set_target_properties(${target} PROPERTIES INTERPROCEDURAL_OPTIMIZATION ON)
  endif()
endfunction()
