// Checking a run before it starts.
#include "train/prepared_run.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "base/fail.h"
#include "base/json.h"
#include "data/known_ids.h"
#include "formats/hf_config.h"
#include "formats/model_folder.h"
#include "text/vocabulary_files.h"
#include "train/agreement.h"
#include "train/run_identity.h"
#include "train/run_options.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Prompts of the model begin as the data's documents do, even if the data's tokenizer.json does not say so. Examples
// without a prefix begin with the token that ends documents.
Tokenizer tokenizer_of(const fs::path& folder, const DataInfo& data) {
  Tokenizer tokenizer = load_data_tokenizer(folder, data);
  std::vector<TokenId> prefix = data.document_prefix;
  if (prefix.empty() && data.holds_examples()) prefix = {data.eos_id};
  if (prefix.empty() || std::ranges::equal(prefix, tokenizer.text_prefix())) return tokenizer;
  return tokenizer.with_text_prefix(prefix);
}

// Says how the examples of a split are padded and cut.
std::string describe_examples(const TokenStream& tokens, std::string_view purpose, std::int64_t seq_len) {
  const std::uint64_t longest = tokens.longest_example();
  const auto most = static_cast<std::uint64_t>(seq_len) + 1;
  std::string text = fmt::format("{} examples for {}, the longest of {} tokens, each padded to {}", tokens.examples(),
                                 purpose, longest, seq_len);
  if (longest > most) {
    text += fmt::format("; {} of them are longer and are cut there, by {} tokens in all. --seq-len {} would cut none",
                        tokens.examples_above(most), tokens.example_targets(longest) - tokens.example_targets(most),
                        longest - 1);
  }
  return text + ".";
}

// The longest sequences with init_from unless a length is given: the context of a model from elsewhere may be so long
// that a batch of it does not fit.
constexpr std::int64_t tuning_length = 512;

// Chooses a length if none is given; the data are open.
void choose_length(PreparedRun& run) {
  std::int64_t& seq_len = run.options.seq_len;
  if (seq_len == 0) {
    const std::int64_t context = run.options.model.max_positions;
    seq_len = run.options.init_from.empty() ? context : std::min(context, tuning_length);
    // More would be padding only.
    const std::uint64_t longest = run.train_tokens->longest_example();
    if (longest > 0) seq_len = std::min(seq_len, static_cast<std::int64_t>(longest) - 1);
    if (seq_len == tuning_length && context > tuning_length) {
      run.notes.push_back(
          fmt::format("Sequences have {} tokens. The model's context holds {}: --seq-len {} would use "
                      "all of it, with more memory and time for a step.",
                      tuning_length, context, context));
    }
  }
  if (!run.data.holds_examples()) return;
  run.notes.push_back(describe_examples(*run.train_tokens, "training", seq_len));
  if (run.val_tokens) run.notes.push_back(describe_examples(*run.val_tokens, "validation", seq_len));
}

// The tokens of a step are read at once.
void require_countable_step(const PreparedRun& run) {
  constexpr std::int64_t most = (std::int64_t{1} << 31) - 1;
  const std::int64_t sequences = run.share.batch_size * run.share.batches;
  if (sequences <= most / run.options.seq_len) return;
  fail(
      ErrorKind::usage,
      "A step of {} sequences of {} tokens has more than 2^31 - 1 tokens for a process; choose a smaller --batch-size, "
      "--grad-accum or --seq-len.",
      sequences, run.options.seq_len);
}

// Opens everything that will be read, before the run folder is touched.
void open_data(PreparedRun& run) {
  const fs::path& folder = run.options.data;
  run.train_tokens = std::make_shared<const TokenStream>(folder, "train");
  run.train_tokens->check_ids();
  if (!run.data.val.shards.empty()) {
    const auto tokens = std::make_shared<const TokenStream>(folder, "val");
    tokens->check_ids();
    if (tokens->size() > 1) run.val_tokens = tokens;
  }
  choose_length(run);
  require_countable_step(run);
  // Too few tokens are noticed here.
  const BatchLoader loader(run.train_tokens, (folder / "train").string(),
                           training_loader_options(run.options, run.share));
  if (const auto change = run.watch->change()) {
    fail(ErrorKind::input, "The data folder {} {} while it was being opened; try again.", folder.string(), *change);
  }
}

// Opening a pipe that nobody writes would wait for ever.
void require_regular_files(const RunPaths& paths) {
  for (const fs::path& path : {paths.options(), paths.metrics()}) {
    std::error_code error;
    if (!is_there(path) || fs::is_regular_file(path, error)) continue;
    fail(ErrorKind::input, "{} is no regular file; move it away to go on with this run folder.", path.string());
  }
}

void open_run_folder(PreparedRun& run) {
  const fs::path& folder = run.paths.run;
  std::error_code error;
  if (fs::equivalent(folder, run.options.data, error)) {
    fail(ErrorKind::usage, "--output and --data are both {}; a run needs a folder of its own.", folder.string());
  }
  run.folder = std::make_unique<RunFolder>(folder);
  run.store = std::make_unique<CheckpointStore>(run.paths.checkpoints());
  if (run.store->holds_any()) {
    if (run.options.resume) {
      require_regular_files(run.paths);
      run.folder->sweep();
      return;
    }
    fail(ErrorKind::usage,
         "{} already holds a run. Add --resume to continue it, or choose another --output (or remove the folder) to "
         "begin a new one.",
         folder.string());
  }
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "config.json"}) {
    if (!is_there(folder / name)) continue;
    fail(ErrorKind::usage,
         "{} holds a model ({}) and no checkpoint: a run would overwrite it. Choose another --output; --init-from {} "
         "starts from the model.",
         folder.string(), name, folder.string());
  }
  // A run has started once it has a checkpoint. Without one, a former attempt does not matter.
  const bool earlier = is_there(run.paths.options()) || is_there(run.paths.metrics());
  require_regular_files(run.paths);
  if (earlier || is_there(run.paths.checkpoints())) run.folder->sweep();
  if (earlier) {
    run.notes.push_back(fmt::format(
        "{} holds a start that ended before its first checkpoint; the run begins at its first step, with the options "
        "given now.",
        folder.string()));
  } else if (run.options.resume) {
    run.notes.push_back(fmt::format("{} holds no run to resume; one begins there.", folder.string()));
  }
}

// The model in init_from; once the run has begun, the run's own, which needs that folder no longer.
Config initial_model(const TrainOptions& options) {
  if (options.resume && holds_run(options.output) && is_there(RunPaths{options.output}.options())) {
    return load_run_options(options.output).model;
  }
  return load_model_config(options.init_from);
}

// The model as it will be trained: init_from's or the one asked for, with the data's vocabulary.
Config resolve_model(PreparedRun& run) {
  const TrainOptions& options = run.options;
  Config config = options.model;
  if (options.init_from.empty()) {
    config.vocab_size = run.data.vocab_size;
  } else {
    config = initial_model(options);
    require_known_ids(options.data, run.data, *run.tokenizer, config.vocab_size,
                      fmt::format("the model in {}", options.init_from.string()));
  }
  if (options.dropout) config.dropout = *options.dropout;
  if (const std::string note = own_form_note(config); !note.empty()) run.notes.push_back(note);
  config.validate();
  return config;
}

// The weights of init_from need their own tokenizer, unless the user says otherwise.
void check_initial_tokenizer(PreparedRun& run) {
  const TrainOptions& options = run.options;
  if (options.init_from.empty()) return;
  const auto path = tokenizer_file_in(options.init_from);
  if (!path) {
    run.notes.push_back(
        fmt::format("{} has no tokenizer.json, so it cannot be checked that the data in {} was prepared with that "
                    "model's tokenizer.",
                    options.init_from.string(), options.data.string()));
    return;
  }
  if (Tokenizer::load(*path).encodes_like(*run.tokenizer)) return;
  if (!options.force_tokenizer) {
    fail(ErrorKind::input,
         "{} is not the tokenizer that the data in {} was prepared with: the same ids mean other tokens. Prepare the "
         "data with it (mslt data prepare --tokenizer {} ...), or add --force-tokenizer: then each id keeps its "
         "embedding but means another token, which training has to learn anew.",
         path->string(), options.data.string(), path->string());
  }
  run.notes.push_back(fmt::format(
      "{} is not the tokenizer that the data in {} was prepared with: each id keeps its embedding but means "
      "another token, which training has to learn anew.",
      path->string(), options.data.string()));
}

// state.json of a checkpoint whose sums are right. Throws Error(input) if it is of another step.
RunState load_state_of(const CheckpointInfo& checkpoint) {
  for (const char* name : {"config.json", "model.safetensors", "optimizer.safetensors", "state.json"}) {
    if (std::find(checkpoint.files.begin(), checkpoint.files.end(), name) != checkpoint.files.end()) continue;
    fail(ErrorKind::input, "its manifest does not list {}", name);
  }
  const fs::path path = checkpoint.folder / "state.json";
  RunState state = load_run_state(path);
  if (state.step != checkpoint.step) {
    fail(ErrorKind::input, "{}: step is {}, but its folder and manifest are of step {}.", path.string(), state.step,
         checkpoint.step);
  }
  return state;
}

// The place in the data is a function of the number of steps.
void require_loader_state(const PreparedRun& run) {
  const TrainOptions& options = run.options;
  const BatchLoader loader(run.train_tokens, (options.data / "train").string(),
                           training_loader_options(options, run.share));
  const auto windows =
      static_cast<std::uint64_t>(run.state.step) * static_cast<std::uint64_t>(options.batch_size * options.grad_accum);
  try {
    if (const std::uint64_t found = loader.handed_out(run.state.loader, windows); found != windows) {
      fail(ErrorKind::input, "The loader has handed out {} sequences, but {} steps take {}.", found, run.state.step,
           windows);
    }
  } catch (const Error& error) {
    fail(ErrorKind::input, "{}: {} Continue from another checkpoint with --from-step.",
         (run.checkpoint->folder / "state.json").string(), error.what());
  }
}

void find_checkpoint(PreparedRun& run, const nlohmann::json& arithmetic) {
  const std::vector<CheckpointFinding> findings =
      run.store->examine([](const CheckpointInfo& checkpoint) { load_state_of(checkpoint); });
  run.choice = choose_checkpoint(findings, run.options.from_step, run.options.discard_damaged);
  run.notes.insert(run.notes.end(), run.choice.notes.begin(), run.choice.notes.end());
  run.checkpoint = run.choice.checkpoint;
  if (!run.checkpoint) {
    if (run.store->holds_any()) {
      if (is_there(run.paths.options())) {
        const nlohmann::json before = read_json_file(run.paths.options(), std::uint64_t{1} << 20);
        if (before.is_object() && before.contains("identity"))
          require_same_identity(run.paths.run, run.identity, before["identity"]);
      }
      run.notes.push_back(
          fmt::format("{} holds no complete checkpoint; the run begins at its first step.", run.paths.run.string()));
    }
    return;
  }
  run.state = load_state_of(*run.checkpoint);
  require_same_identity(run.paths.run, run.identity, run.state.identity);
  require_loader_state(run);
  if (run.state.step > run.options.steps) {
    fail(ErrorKind::usage, "--steps is {}, but the run in {} is at step {} already; --steps counts from its beginning.",
         run.options.steps, run.paths.run.string(), run.state.step);
  }
  for (std::string& change : changes_since(run.state, run.options, arithmetic)) run.notes.push_back(std::move(change));
}

void check_checkpoint_tokenizer(const PreparedRun& run) {
  const fs::path& folder = run.checkpoint->folder;
  if (!is_there(folder / "tokenizer.json")) return;
  require_same_tokenizer(Tokenizer::load(folder / "tokenizer.json"), folder, *run.tokenizer, run.options.data);
}

// Finds the checkpoint to go on from, or makes sure that the run can begin.
void find_beginning(PreparedRun& run, const nlohmann::json& arithmetic) {
  find_checkpoint(run, arithmetic);
  if (run.checkpoint) {
    check_checkpoint_tokenizer(run);
  } else {
    check_initial_tokenizer(run);
  }
}

// The model that the leading process found, on all of them.
void take_over_model(PreparedRun& run, Communicator& communicator) {
  if (communicator.is_alone()) return;
  const std::string text = communicator.broadcast(config_to_json(run.options.model).dump());
  if (communicator.leads()) return;
  run.options.model = config_from_json(nlohmann::json::parse(text), communicator.name_of(0));
}

// Where the run goes on, as the leading process found it in the run folder, on all of them.
void take_over_beginning(PreparedRun& run, Communicator& communicator) {
  if (communicator.is_alone()) return;
  nlohmann::json found = {{"state", run_state_to_json(run.state)}};
  if (run.checkpoint) {
    found["checkpoint"] = run.checkpoint->folder.string();
    found["validation_loss"] =
        run.checkpoint->validation_loss ? nlohmann::json(*run.checkpoint->validation_loss) : nlohmann::json();
  }
  found = nlohmann::json::parse(
      communicator.broadcast(found.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  if (communicator.leads()) return;
  run.store = std::make_unique<CheckpointStore>(run.paths.checkpoints());
  run.state = run_state_from_json(found["state"], communicator.name_of(0));
  if (!found.contains("checkpoint")) return;
  run.checkpoint = CheckpointInfo{run.state.step, found["checkpoint"].get<std::string>(), std::nullopt};
  if (!found["validation_loss"].is_null()) run.checkpoint->validation_loss = found["validation_loss"].get<double>();
}

TrainPlan make_plan(const PreparedRun& run, const Backend& backend) {
  const TrainOptions& options = run.options;
  const Config& config = options.model;
  // Refuses more tokens at once than can be counted.
  const MemoryEstimate memory =
      TrainingStep::plan(backend, config, storage_dtype(backend.device(), dtype_from_name(options.dtype)),
                         step_options(options, run.share));
  TrainPlan plan;
  plan.model = config;
  plan.device = backend.device().name;
  plan.parameter_count = config.parameter_count();
  plan.first_step = run.state.step + 1;
  plan.steps = options.steps;
  const std::int64_t sequences = options.batch_size * options.grad_accum;
  plan.tokens_per_step = sequences * options.seq_len;
  plan.training_tokens = static_cast<std::int64_t>(run.data.train.tokens);
  plan.validation_tokens = static_cast<std::int64_t>(run.data.val.tokens);
  if (const auto examples = static_cast<double>(run.train_tokens->examples()); examples > 0) {
    const auto most = static_cast<std::uint64_t>(options.seq_len) + 1;
    plan.training_tokens = static_cast<std::int64_t>(run.train_tokens->example_targets(most));
    plan.validation_tokens = run.val_tokens ? static_cast<std::int64_t>(run.val_tokens->example_targets(most)) : 0;
    plan.tokens_per_step = std::llround(static_cast<double>(sequences * plan.training_tokens) / examples);
  }
  plan.flops_per_token = config.training_flops_per_token(options.seq_len);
  plan.memory = memory;
  if (run.checkpoint) plan.resumed_from = run.checkpoint->folder;
  return plan;
}

// Has products computed as --dtype says, or refuses it.
void choose_products(const TrainOptions& options, Backend& backend) {
  const DeviceInfo& device = backend.device();
  const DType asked = dtype_from_name(options.dtype);
  const DType stored = storage_dtype(device, asked);
  if (stored != DType::f32 && !device.trains_16_bit) {
    fail(ErrorKind::usage, "--dtype is {}, but the device {} trains in f32 only{}.", options.dtype, device.name,
         asked == DType::bf16 && device.backend == "cpu" ? ": it has neither AVX512-BF16 nor AMX" : "");
  }
  if (stored != asked && options.master_weights == MasterWeights::none) {
    fail(ErrorKind::usage, "--master-weights none does not go with the device {}, whose parameters are f32.",
         device.name);
  }
  backend.multiply_in_bf16(stored != asked);
}

}  // namespace

PreparedRun prepare_run(const TrainOptions& options, Backend& backend, Communicator& communicator) {
  options.validate();
  require_same_options(communicator, options);
  choose_products(options, backend);
  PreparedRun run;
  run.options = options;
  run.paths.run = options.output;
  run.data = read_data_info(options.data);
  run.watch = std::make_unique<const DataWatch>(options.data, run.data);
  run.tokenizer = std::make_unique<const Tokenizer>(tokenizer_of(options.data, run.data));
  if (communicator.leads()) run.options.model = resolve_model(run);
  take_over_model(run, communicator);
  run.share = share_of(run.options, run.options.model.dropout > 0.0f, communicator.rank(), communicator.size());
  if (run.options.seq_len > run.options.model.max_positions) {
    fail(ErrorKind::usage, "--seq-len is {}, but the model has positions for {} only.", run.options.seq_len,
         run.options.model.max_positions);
  }
  if (!options.resume && communicator.leads()) check_initial_tokenizer(run);
  open_data(run);
  run.identity = run_identity(run.options, run.data, run.train_tokens->examples());
  require_same_data(communicator, run.identity);
  const nlohmann::json arithmetic = run_arithmetic(backend);
  if (communicator.leads()) {
    open_run_folder(run);
    if (options.resume) find_beginning(run, arithmetic);
  }
  run.state.identity = run.identity;
  run.state.options = options_to_json(run.options);
  run.state.arithmetic = arithmetic;
  take_over_beginning(run, communicator);
  run.plan = make_plan(run, backend);
  return run;
}

LoaderOptions training_loader_options(const TrainOptions& options, const Share& share) {
  LoaderOptions loading;
  loading.batch = share.batch_size * share.batches;
  loading.rank = share.rank;
  loading.world = share.ranks;
  loading.seq_len = options.seq_len;
  loading.seed = options.seed;
  loading.random_offset = true;
  return loading;
}

TrainingStepOptions step_options(const TrainOptions& options, const Share& share) {
  return {.batch_size = share.batch_size,
          .seq_len = options.seq_len,
          .grad_accum = share.batches,
          .first_batch = share.first,
          .all_batches = options.grad_accum,
          .rank = static_cast<int>(share.rank),
          .ranks = static_cast<int>(share.ranks),
          .zero = options.zero,
          .seed = options.seed,
          .clip = options.clip,
          .adamw = {static_cast<float>(options.beta1), static_cast<float>(options.beta2),
                    static_cast<float>(options.epsilon), static_cast<float>(options.weight_decay)},
          .recompute = options.recompute,
          .master_weights = options.master_weights,
          .grad_dtype = options.grad_dtype};
}

void write_run_options(const PreparedRun& run) {
  nlohmann::json record = run.state.options.get();
  record["identity"] = run.identity.get();
  write_file(run.paths.options(), record.dump(2) + "\n");
}

bool holds_run(const std::filesystem::path& folder) {
  return CheckpointStore(RunPaths{folder}.checkpoints()).holds_any();
}

}  // namespace mslt
