// mslc: reads MSL kernels, checks them against docs/msl-subset.md and writes what each driver needs.
//
// Exit status: 0; 1 if a source breaks a rule or cannot be read; 2 for bad usage.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "mslc/emit.h"
#include "mslc/front_end.h"

namespace mslt::mslc {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view usage =
    "usage: mslc --kernels DIR --out DIR [options] FILE.metal...\n"
    "  --kernels DIR   where \"lib/x.h\" and the argument structs are found\n"
    "  --out DIR       where the outputs go\n"
    "  --emit LIST     of metadata,host,cuda,clcpp,embed,metal (all of them unless given); none: only check\n"
    "  --set NAME      puts the tables into namespaces of that name\n"
    "  --root DIR      what file names are printed relative to (the folder above DIR of --kernels unless given)\n"
    "  --depfile FILE  writes the files read, for the build\n";

constexpr std::array<std::string_view, 6> kinds = {"metadata", "host", "cuda", "clcpp", "embed", "metal"};

struct Arguments {
  fs::path kernels;
  fs::path out;
  fs::path root;
  fs::path depfile;
  std::vector<std::string> emit{kinds.begin(), kinds.end()};
  EmitOptions options;
  std::vector<fs::path> files;
};

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

Arguments parse_arguments(const std::vector<std::string>& words) {
  Arguments read;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!word.starts_with("--")) {
      read.files.emplace_back(word);
      continue;
    }
    if (i + 1 == words.size()) {
      fail(ErrorKind::usage, "{} needs a value", word);
    }
    const std::string& value = words[++i];
    if (word == "--kernels") {
      read.kernels = value;
    } else if (word == "--out") {
      read.out = value;
    } else if (word == "--root") {
      read.root = value;
    } else if (word == "--depfile") {
      read.depfile = value;
    } else if (word == "--set") {
      read.options.set = value;
    } else if (word == "--emit") {
      read.emit = value == "none" ? std::vector<std::string>() : split_list(value);
    } else {
      fail(ErrorKind::usage, "there is no option {}", word);
    }
  }
  for (const std::string& kind : read.emit) {
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
      fail(ErrorKind::usage, "--emit knows metadata, host, cuda, clcpp, embed and metal, not '{}'", kind);
    }
  }
  if (read.kernels.empty() || (read.out.empty() && !read.emit.empty())) {
    fail(ErrorKind::usage, "--kernels and --out are needed");
  }
  if (read.root.empty()) {
    read.root = fs::weakly_canonical(read.kernels).parent_path();
  }
  return read;
}

// Does not touch a file with equal content, so nothing is recompiled for it.
void write_changed(const fs::path& path, std::string_view text) {
  if (fs::is_regular_file(path) && fs::file_size(path) == text.size() && read_file(path, text.size() + 1) == text) {
    return;
  }
  write_file(path, text);
}

void write_outputs(const FrontEnd& front_end, const Arguments& arguments) {
  std::vector<const Unit*> units;
  for (const auto& unit : front_end.units()) {
    units.push_back(&unit->syntax.unit);
  }
  for (const std::string& kind : arguments.emit) {
    if (kind == "metadata") {
      write_changed(arguments.out / "kernel_table.cpp", emit_metadata(front_end.entries(), arguments.options));
    } else if (kind == "embed") {
      write_changed(arguments.out / "embed.cpp", emit_embed(front_end.syntaxes(), arguments.options));
    } else if (kind == "metal") {
      write_changed(arguments.out / "kernels.metal", emit_metal(front_end.syntaxes()));
    } else if (kind == "host") {
      write_changed(arguments.out / "host_kernels.cpp", emit_host_table(units, arguments.options));
    } else if (kind == "cuda") {
      write_changed(arguments.out / "cuda_kernels.cpp", emit_cuda_table(units, arguments.options));
    }
    for (const auto& unit : front_end.units()) {
      const std::string& name = unit->syntax.unit.name;
      if (kind == "host") {
        write_changed(arguments.out / fmt::format("host_{}.cpp", name),
                      emit_host(unit->syntax, unit->entries, arguments.options));
      } else if (kind == "cuda") {
        write_changed(arguments.out / fmt::format("cuda_{}.cu", name),
                      emit_cuda(unit->syntax, unit->entries, arguments.options));
      } else if (kind == "clcpp") {
        write_changed(arguments.out / fmt::format("clcpp_{}.clcpp", name),
                      emit_clcpp(unit->syntax, unit->entries, arguments.options));
      }
    }
  }
}

// Lists the files read as dependencies of the first output; the build's rule has all outputs together.
void write_depfile(const FrontEnd& front_end, const Arguments& arguments) {
  std::string text = fmt::format("{}:", (arguments.out / "kernel_table.cpp").generic_string());
  for (const fs::path& path : front_end.sources().files()) {
    fmt::format_to(std::back_inserter(text), " \\\n  {}", path.generic_string());
  }
  write_changed(arguments.depfile, text + "\n");
}

int run(const std::vector<std::string>& words) {
  const Arguments arguments = parse_arguments(words);
  FrontEnd front_end(arguments.root, arguments.kernels);
  for (const fs::path& file : arguments.files) {
    front_end.add_file(file);
  }
  front_end.finish();
  if (!front_end.diagnostics().empty()) {
    fmt::print(stderr, "{}", front_end.diagnostics().text());
    return 1;
  }
  if (!arguments.out.empty()) {
    fs::create_directories(arguments.out);
  }
  write_outputs(front_end, arguments);
  if (!arguments.depfile.empty()) {
    write_depfile(front_end, arguments);
  }
  return 0;
}

}  // namespace
}  // namespace mslt::mslc

int main(int argc, char** argv) {
  try {
    return mslt::mslc::run({argv + 1, argv + argc});
  } catch (const mslt::Error& error) {
    const bool bad_usage = error.kind() == mslt::ErrorKind::usage;
    fmt::print(stderr, "mslc: error: {}\n{}", error.what(), bad_usage ? mslt::mslc::usage : std::string_view());
    return bad_usage ? 2 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "mslc: error: {}\n", error.what());
    return 1;
  }
}
