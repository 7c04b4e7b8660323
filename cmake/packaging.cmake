# What is installed where, and the Debian package: `cpack --config build/release/CPackConfig.cmake` leaves
# build/release/nbdgw_VERSION_ARCHITECTURE.deb.
include(GNUInstallDirs)

set(deploy ${CMAKE_SOURCE_DIR}/deploy)
set(docs ${CMAKE_INSTALL_DATADIR}/doc/nbdgw)

# Only the program is built for it, not the tests.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
install(TARGETS nbdgw RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(section 1 5 8)
  file(GLOB pages CONFIGURE_DEPENDS ${deploy}/man/*.${section})
  install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
install(FILES ${deploy}/completion/nbdgw DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
file(GLOB examples CONFIGURE_DEPENDS config/examples/*.yaml ${deploy}/examples/*.yaml)
install(FILES ${examples} DESTINATION ${docs}/examples)
install(FILES config/nbdgw.schema.json DESTINATION ${CMAKE_INSTALL_DATADIR}/nbdgw)
install(DIRECTORY dashboards/grafana dashboards/prometheus dashboards/runbooks
        DESTINATION ${CMAKE_INSTALL_DATADIR}/nbdgw/dashboards
        FILES_MATCHING PATTERN *.json PATTERN *.yaml PATTERN *.md PATTERN tests EXCLUDE)
install(FILES ${deploy}/sysusers.d/nbdgw.conf DESTINATION lib/sysusers.d)
file(GLOB attach CONFIGURE_DEPENDS ${deploy}/attach/nbdgw-attach)
install(PROGRAMS ${attach} DESTINATION lib/nbdgw)
file(GLOB units CONFIGURE_DEPENDS ${deploy}/systemd/*.service ${deploy}/systemd/*.socket)
install(FILES ${units} DESTINATION lib/systemd/system)
# A unit of another package gets what we have to say of it.
install(DIRECTORY ${deploy}/systemd/ DESTINATION lib/systemd/system FILES_MATCHING PATTERN "*.conf")

# The maintainer scripts know the units by name, and the instances of a template by a pattern.
set(NBDGW_UNITS "")
set(NBDGW_INSTANCES "")
foreach(unit ${units})
  get_filename_component(name ${unit} NAME)
  if(name MATCHES "@\\.")
    string(REPLACE "@." "@*." name ${name})
    string(APPEND NBDGW_INSTANCES " '${name}'")
  else()
    string(APPEND NBDGW_UNITS " ${name}")
  endif()
endforeach()
string(STRIP "${NBDGW_UNITS}" NBDGW_UNITS)
string(STRIP "${NBDGW_INSTANCES}" NBDGW_INSTANCES)
foreach(script postinst prerm postrm)
  configure_file(${deploy}/debian/${script} ${CMAKE_BINARY_DIR}/debian/${script} @ONLY)
  list(APPEND scripts ${CMAKE_BINARY_DIR}/debian/${script})
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/cmake/finish_deb.cmake)
set(CPACK_NBDGW_DEBIAN ${deploy}/debian)
# Also in deploy/debian/changelog.
set(CPACK_PACKAGE_CONTACT "nbdgw maintainers <maintainers@nbdgw.io>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_NAME nbdgw)
set(CPACK_DEBIAN_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# procps: kill(1), with which a unit has the gateway read its configuration again.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "procps, systemd | systemd-standalone-sysusers | systemd-sysusers")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion, libnbd-bin, nbd-client")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${scripts})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "NBD server whose disks are iSCSI LUNs
nbdgw offers the logical units of iSCSI targets as NBD exports, over TCP and
UNIX sockets, to the kernel's nbd-client, to libnbd and to qemu. It runs in
user space, without privileges and without the kernel's iSCSI initiator.
.
Each target has one session of several TCP connections (MC/S). Commands that
are not answered are aborted and sent again, lost sessions are restored while
requests wait, overlapping writes stay in order, and a FLUSH that could not be
kept fails. It has probes, Prometheus metrics, an HTTP API with a console, and
a command line for the same.")
include(CPack)
