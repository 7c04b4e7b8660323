# Writes a source file that holds other files, so that the program needs none of them at run time.
#
# cmake -D OUTPUT=FILE.cpp -D "FILES=a;b" -D ROOT=FOLDER -P embed.cmake: each is called by its path under ROOT.
set(arrays "")
set(table "")
set(number 0)
foreach(file IN LISTS FILES)
  file(READ ${ROOT}/${file} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "constexpr unsigned char k${number}[] = {\n${bytes}};\n")
  string(APPEND table "    {\"${file}\", {reinterpret_cast<const char*>(k${number}), sizeof k${number}}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Made by gateway/admin/embed.cmake.
#include \"gateway/admin/assets.hpp\"

namespace nbdgw::admin {

namespace {
${arrays}}  // namespace

std::string_view asset(std::string_view name) {
  const struct {
    std::string_view name;
    std::string_view content;
  } all[] = {
${table}  };
  for (const auto& each : all)
    if (each.name == name) return each.content;
  return {};
}

}  // namespace nbdgw::admin
")
