# The kernels as a user C module: cmake -DUSER_C_MODULES=<this file>
file(GLOB TRIMTAB_SOURCES CONFIGURE_DEPENDS
    ${CMAKE_CURRENT_LIST_DIR}/kernels/*.c
    ${CMAKE_CURRENT_LIST_DIR}/kernels/packed/*.c
    ${CMAKE_CURRENT_LIST_DIR}/kernels/packed/*/*.S
)

add_library(usermod_trimtab INTERFACE)
target_sources(usermod_trimtab INTERFACE ${TRIMTAB_SOURCES})
target_link_libraries(usermod INTERFACE usermod_trimtab)
set_source_files_properties(${TRIMTAB_SOURCES} PROPERTIES COMPILE_OPTIONS "-O2")
