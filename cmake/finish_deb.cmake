# Run by cpack between installing into its folder and packing that: what a Debian package has beside our files.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(docs ${root}/usr/share/doc/nbdgw)

# Without a name and a time inside, so that the same input gives the same package.
function(compress)
  execute_process(COMMAND gzip -9n ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(readable FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
file(COPY ${CPACK_NBDGW_DEBIAN}/copyright ${CPACK_NBDGW_DEBIAN}/changelog ${CPACK_NBDGW_DEBIAN}/README.Debian
     DESTINATION ${docs} ${readable})
file(GLOB pages ${root}/usr/share/man/man*/*)
compress(${docs}/changelog ${pages})

# In Debian 12 all units are in /lib, and a package of 13 may have nothing there, for that is a link to /usr/lib.
cmake_host_system_information(RESULT debian QUERY DISTRIB_VERSION_ID)
if(debian STREQUAL "12")
  file(MAKE_DIRECTORY ${root}/lib)
  file(RENAME ${root}/usr/lib/systemd ${root}/lib/systemd)
endif()

# Empty: which targets there are only the administrator knows. postinst gives it to the group.
file(MAKE_DIRECTORY ${root}/etc/nbdgw)
