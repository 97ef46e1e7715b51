// Fuzzes config.json, generation_config.json and the index of shards: accepted inputs survive being written again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "formats/hf_config.h"
#include "formats/safetensors.h"
#include "mslt/error.h"

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

template <class Action>
void only_input_errors(Action&& action) {
  try {
    action();
  } catch (const mslt::Error& error) {
    require(error.kind() == mslt::ErrorKind::input);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  only_input_errors([&] {
    const mslt::HfConfig hf = mslt::parse_hf_config(text, "fuzz");
    hf.config.validate();
    const std::string written = mslt::format_hf_config(hf.config, mslt::DType::f32, hf.tokens);
    bool same = false;
    try {
      const mslt::HfConfig again = mslt::parse_hf_config(written, "again");
      same = mslt::without_idle_settings(again.config) == mslt::without_idle_settings(hf.config) &&
             again.tokens == hf.tokens;
    } catch (const mslt::Error&) {
      same = false;
    }
    require(same);
  });
  only_input_errors([&] {
    std::vector<std::string> notes;
    const mslt::GenerationSettings settings = mslt::parse_generation_config(text, "fuzz", notes);
    notes.clear();
    require(mslt::parse_generation_config(mslt::format_generation_config(settings), "again", notes) == settings);
    require(notes.empty());
  });
  only_input_errors([&] {
    for (const auto& [tensor, file] : mslt::parse_safetensors_index(text, "fuzz")) {
      require(file.find('/') == std::string::npos && file != "..");
    }
  });
  return 0;
}
