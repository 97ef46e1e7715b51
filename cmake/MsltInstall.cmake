# Install targets, and the package files behind find_package(mslt).
include(CMakePackageConfigHelpers)

get_property(modules GLOBAL PROPERTY MSLT_MODULES)
add_library(mslt INTERFACE)
add_library(mslt::mslt ALIAS mslt)
target_link_libraries(mslt INTERFACE ${modules})

install(TARGETS mslt ${modules} EXPORT mslt-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mslt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT mslt-targets NAMESPACE mslt:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mslt)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mslt-config.cmake.in ${PROJECT_BINARY_DIR}/mslt-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mslt)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mslt-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mslt-config.cmake ${PROJECT_BINARY_DIR}/mslt-config-version.cmake
              ${CMAKE_CURRENT_LIST_DIR}/Finddnnl.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mslt)
