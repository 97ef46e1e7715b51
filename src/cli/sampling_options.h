// The options that say how tokens are drawn, alike for all commands that draw.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "mslt/generator.h"
#include "mslt/model.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

struct Context;

// Adds --temperature, --top-k, --top-p, --min-p, --repetition-penalty and --seed; what `sampling` holds is the default.
void add_sampling_options(CLI::App& command, SamplingOptions& sampling);

// Sets what the model's generation_config.json recommends, except options that the user gave (`is_given`, asked by
// flag), and says so. A file whose do_sample is false recommends nothing, since its settings have no effect then.
void take_recommended(const Model& model, const std::function<bool(const char* flag)>& is_given,
                      SamplingOptions& sampling, Context& context);

}  // namespace mslt::cli
