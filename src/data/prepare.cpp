// mslt data prepare: the way from text files to a data folder.
#include "data/prepare.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/fail.h"
#include "base/file.h"
#include "base/parallel.h"
#include "base/paths.h"
#include "base/printable.h"
#include "base/system_error.h"
#include "data/clean.h"
#include "data/corpus.h"
#include "data/split_writer.h"

namespace mslt {
namespace {

// Text that is encoded by itself.
struct Part {
  std::string text;
  bool continues = false;  // the part before it; see TextCut
  bool ends_document = false;
  std::vector<TokenId> ids;
};

// Cuts the cleaned pieces of documents into parts whose tokens, joined, are those of the documents.
class PartCutter {
 public:
  PartCutter(const PrepareOptions& options, const Tokenizer& tokenizer)
      : cleaner_(options.cleaning), tokenizer_(tokenizer) {}

  void push(const CorpusPiece& piece, std::vector<Part>& parts) {
    const std::size_t before = text_.size();
    cleaner_.push(piece.text, text_);
    if (piece.ends_document) {
      cleaner_.finish(text_);
      if (document_has_parts_ || !text_.empty()) parts.push_back({std::exchange(text_, {}), continues_, true, {}});
      document_has_parts_ = false;
      continues_ = false;
      search_at_ = least_search;
      return;
    }
    if (text_.size() == before || text_.size() < search_at_) return;
    const auto cut = tokenizer_.find_cut(text_, SpecialTokens::as_text, continues_);
    if (!cut) {
      // Searched again only when the text has doubled, so that the search stays linear.
      search_at_ = text_.size() * 2;
      return;
    }
    parts.push_back({text_.substr(0, cut->position), continues_, false, {}});
    text_.erase(0, cut->position);
    continues_ = cut->continues;
    document_has_parts_ = true;
    search_at_ = least_search;
  }

 private:
  static constexpr std::size_t least_search = std::size_t{1} << 19;

  Cleaner cleaner_;
  const Tokenizer& tokenizer_;
  std::string text_;        // cleaned, not yet cut off
  bool continues_ = false;  // whether it goes on where a part was cut off
  bool document_has_parts_ = false;
  std::size_t search_at_ = least_search;
};

std::vector<std::uint32_t> bytes_of_tokens(const Tokenizer& tokenizer) {
  std::vector<std::uint32_t> lengths(tokenizer.vocab_size());
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    lengths[id] = static_cast<std::uint32_t>(tokenizer.token_bytes(id).size());
  }
  return lengths;
}

// The subfolder that shards are written in; gone at the end, whatever happens.
class Staging {
 public:
  explicit Staging(const std::filesystem::path& folder) : folder_(folder / ".staging") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

bool is_shard_name(const std::string& name) {
  return name.ends_with(".bin") && (name.starts_with("train_") || name.starts_with("val_"));
}

// Puts the finished shards where the earlier ones stood. data.json goes first and comes back last.
void publish(const std::filesystem::path& staging, const std::filesystem::path& folder, const DataInfo& info,
             const std::string& tokenizer_json) {
  std::filesystem::remove(folder / "data.json");
  sync_folder(folder);
  std::vector<std::filesystem::path> stale;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (is_shard_name(entry.path().filename().string())) stale.push_back(entry.path());
  }
  for (const auto& path : stale) std::filesystem::remove(path);
  for (const SplitInfo* split : {&info.train, &info.val}) {
    for (const std::string& name : split->files()) std::filesystem::rename(staging / name, folder / name);
  }
  write_file(folder / "tokenizer.json", tokenizer_json);
  write_file(folder / "data.json", data_info_to_json(info));
}

// A data folder gets a tokenizer.json, which must not take the place of another owner's.
void require_folder_for_data(const std::filesystem::path& folder) {
  for (const char* name : {"config.json", "model.safetensors", "run.json", "checkpoints"}) {
    if (!path_exists(folder / name)) continue;
    fail(ErrorKind::usage,
         "{} holds a model or a run ({}), whose tokenizer would be replaced; choose another --output.", folder.string(),
         name);
  }
  // The lock tells a data folder whose preparation was killed.
  const bool is_data = path_exists(folder / "data.json") || path_exists(folder / ".lock");
  if (path_exists(folder / "tokenizer.json") && !is_data) {
    fail(ErrorKind::usage, "{} holds a tokenizer.json and no data, and would lose it; choose another --output.",
         folder.string());
  }
}

PrepareResult prepare(const PrepareOptions& options, const PrepareProgress& progress) {
  require_folder_for_data(options.output);
  start_parallel_threads();
  Tokenizer tokenizer = Tokenizer::load(options.tokenizer, options.pattern, options.special);
  const auto eos = options.eos ? options.eos(tokenizer) : tokenizer.eos_id();
  if (!eos) {
    fail(
        ErrorKind::input,
        "{} has no special token that ends documents ([EOS], </s> or <|endoftext|>, for example); name one with --eos.",
        options.tokenizer.string());
  }
  CorpusReader corpus(
      options.inputs,
      {.document_separator = options.document_separator, .line_documents = options.examples, .strict = options.strict});

  const auto own_prefix = tokenizer.text_prefix();
  std::vector<TokenId> prefix =
      options.prefix ? options.prefix(tokenizer) : std::vector<TokenId>(own_prefix.begin(), own_prefix.end());
  // The folder's tokenizer goes into the model, whose prompts then begin as its documents do.
  if (!std::ranges::equal(prefix, own_prefix)) tokenizer = tokenizer.with_text_prefix(prefix);
  std::erase(prefix, *eos);
  PartCutter cutter(options, tokenizer);
  const SplitOptions split = {.val_fraction = options.val_fraction,
                              .seed = options.seed,
                              .shard_tokens = options.shard_tokens,
                              .eos_id = *eos,
                              .prefix = prefix,
                              .examples = options.examples};
  check_split_options(split);

  make_folders(options.output);
  const FolderLock lock(options.output);
  const Staging staging(options.output);
  SplitWriter writer(staging.folder(), bytes_of_tokens(tokenizer), split);

  // Enough text at once that the threads' work outweighs their start.
  const std::uint64_t bytes_at_once = (std::uint64_t{1} << 21) * static_cast<std::uint64_t>(parallel_threads());
  CorpusPiece piece;
  std::vector<Part> parts;
  bool more = true;
  while (more) {
    parts.clear();
    const std::uint64_t start = corpus.bytes_read();
    while (more && corpus.bytes_read() - start < bytes_at_once) {
      more = corpus.next(piece);
      if (more) cutter.push(piece, parts);
    }
    parallel_for(static_cast<std::int64_t>(parts.size()), large_cost, [&](std::int64_t i) {
      Part& part = parts[static_cast<std::size_t>(i)];
      tokenizer.encode_append(part.text, part.ids, SpecialTokens::as_text, part.continues);
    });
    for (const Part& part : parts) {
      writer.append(part.ids);
      if (part.ends_document) writer.end_document();
    }
    if (progress && !progress(corpus.bytes_read(), corpus.bytes_total())) {
      fail(ErrorKind::interrupted, "Preparing {} was stopped; the folder is as it was before.",
           options.output.string());
    }
  }

  PrepareResult result;
  result.bytes_read = corpus.bytes_read();
  result.skipped = corpus.skipped();
  DataInfo& info = result.info;
  std::tie(info.train, info.val) = writer.finish();
  const std::string tokenizer_json = tokenizer.to_json();
  info.vocab_size = tokenizer.vocab_size();
  info.eos_id = *eos;
  info.document_prefix = prefix;
  info.tokenizer_hash = text_hash(tokenizer_json);
  info.cleaning = options.cleaning;
  info.val_fraction = options.val_fraction;
  info.seed = options.seed;
  publish(staging.folder(), options.output, info, tokenizer_json);
  return result;
}

}  // namespace

PrepareResult prepare_data(const PrepareOptions& options, const PrepareProgress& progress) {
  try {
    return prepare(options, progress);
  } catch (const std::filesystem::filesystem_error& error) {
    fail(ErrorKind::io, "Cannot write {}. {}", printable(options.output.string()), explain_exception(error));
  }
}

}  // namespace mslt
