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

# dpkg reads units where Debian 12 has them.
if(EXISTS ${root}/usr/lib/systemd)
  file(MAKE_DIRECTORY ${root}/lib)
  file(RENAME ${root}/usr/lib/systemd ${root}/lib/systemd)
endif()

# Empty: which targets there are only the administrator knows. postinst gives it to the group.
file(MAKE_DIRECTORY ${root}/etc/nbdgw)
