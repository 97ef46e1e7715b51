// The members of a Tuning, their ranges, and their JSON.
#include "backend/msl/tuning.h"

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "base/paths.h"

namespace mslt::msl {
namespace {

using enum TuningField::Kind;

constexpr auto fields = std::to_array<TuningField>({
    {"direct_results_forward", &Tuning::direct_results_forward, 0, any_size, number, 0},
    {"direct_results_input", &Tuning::direct_results_input, 0, any_size, number, 0},
    {"direct_results_weight", &Tuning::direct_results_weight, 0, any_size, number, 0},
    {"direct_simdgroups", &Tuning::direct_simdgroups, 1, 4, power_of_two, 32},
    {"few_rows", &Tuning::few_rows, 0, 4096, number, 0},
    {"matvec_simdgroups", &Tuning::matvec_simdgroups, 1, 8, number, 32},
    {"span_threads", &Tuning::span_threads, 32, 1024, simdgroups, 1},
    {"adamw_threads", &Tuning::adamw_threads, 32, 1024, simdgroups, 1},
    // embedding_gradient allows 768.
    {"tile_threads", &Tuning::tile_threads, 32, 512, power_of_two, 1},
    {"norm_group_rows", &Tuning::norm_group_rows, 1, 32, number, 32},
    {"loss_threads", &Tuning::loss_threads, 32, 1024, simdgroups, 1},
    {"loss_threads_f32", &Tuning::loss_threads_f32, 32, 1024, simdgroups, 1},
    {"loss_logits_a_thread", &Tuning::loss_logits_a_thread, 1, 4096, number, 0},
    {"reduce_threads", &Tuning::reduce_threads, 32, 1024, simdgroups, 1},
    {"reduce_groups", &Tuning::reduce_groups, 1, 65536, number, 0},
});

// A member of Tuning missing above would be neither written nor read.
static_assert(sizeof(Tuning) == fields.size() * sizeof(std::int64_t));

constexpr std::string_view format_name = "mslt tuning";
constexpr std::uint64_t largest_file = std::uint64_t{1} << 16;

std::string valid_values(const TuningField& field) {
  const std::string range = field.most == any_size ? fmt::format("{} and more", field.least)
                                                   : fmt::format("{} to {}", field.least, field.most);
  if (field.kind == simdgroups) return "multiples of 32, " + range;
  if (field.kind == power_of_two) return "powers of two, " + range;
  return range;
}

bool is_valid(const TuningField& field, std::int64_t value) {
  if (value < field.least || value > field.most) return false;
  if (field.kind == simdgroups) return value % 32 == 0;
  return field.kind != power_of_two || std::has_single_bit(static_cast<std::uint64_t>(value));
}

const nlohmann::json& member_of(const nlohmann::json& object, std::string_view name, std::string_view source) {
  const auto found = object.find(name);
  if (found == object.end()) fail(ErrorKind::input, "{}: the member '{}' is missing.", source, name);
  return *found;
}

std::string text_of(const nlohmann::json& object, std::string_view name, std::string_view source) {
  const nlohmann::json& member = member_of(object, name, source);
  if (!member.is_string()) fail(ErrorKind::input, "{}: the member '{}' is not a text.", source, name);
  return member.get<std::string>();
}

// The value's decimal digits, or a short description of any other value.
std::string shown(const nlohmann::json& value) {
  return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 40);
}

// Allows only these members.
void check_members(const nlohmann::json& object, std::span<const std::string_view> known, std::string_view source,
                   std::string_view where) {
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      fail(ErrorKind::input, "{}: there is no member '{}{}' in a tuning of version {}.", source, where,
           name.substr(0, 80), tuning_version);
    }
  }
}

}  // namespace

std::span<const TuningField> tuning_fields() {
  return fields;
}

const TuningField& tuning_field(std::int64_t Tuning::* member) {
  return *std::find_if(fields.begin(), fields.end(), [&](const TuningField& field) { return field.member == member; });
}

void check_tuning(const Tuning& tuning, std::string_view source, std::uint32_t max_threads) {
  for (const TuningField& field : fields) {
    const std::int64_t value = tuning.*field.member;
    if (!is_valid(field, value)) {
      fail(ErrorKind::input, "{}: '{}' is {}; valid are {}.", source, field.name, value, valid_values(field));
    }
    if (field.threads_each != 0 && value * field.threads_each > max_threads) {
      fail(ErrorKind::input, "{}: '{}' is {}, which makes threadgroups of {} threads; the device allows {}.", source,
           field.name, value, value * field.threads_each, max_threads);
    }
  }
}

bool ChipFamily::holds(const DeviceInfo& device) const {
  if (!backend.empty() && backend != device.backend) return false;
  const std::string_view full = device.name;
  return prefixes.empty() || std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view prefix) {
           if (!full.starts_with(prefix)) return false;
           return full.size() == prefix.size() || full[prefix.size()] < '0' || full[prefix.size()] > '9';
         });
}

const ChipFamily& chip_family(const DeviceInfo& device) {
  const auto families = chip_families();
  const auto found =
      std::find_if(families.begin(), families.end(), [&](const ChipFamily& f) { return f.holds(device); });
  return found == families.end() ? families.back() : *found;
}

std::string format_tuning(const TuningFile& file) {
  nlohmann::ordered_json launches = nlohmann::ordered_json::object();
  for (const TuningField& field : fields) launches[std::string(field.name)] = file.tuning.*field.member;
  const nlohmann::ordered_json document = {
      {"format", format_name}, {"version", tuning_version},           {"backend", file.backend},
      {"device", file.device}, {"measured_with", file.measured_with}, {"launches", launches}};
  return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

TuningFile parse_tuning(std::string_view text, std::string_view source) {
  const nlohmann::json document = parse_json(text, source);
  if (!document.is_object() || document.value("format", nlohmann::json()) != format_name) {
    fail(ErrorKind::input, "{}: this is not a tuning file; 'mslt tune' writes them.", source);
  }
  const nlohmann::json& version = member_of(document, "version", source);
  if (version != tuning_version) {
    fail(ErrorKind::input, "{}: 'version' is {}, but this mslt has version {}; 'mslt tune' measures again.", source,
         shown(version), tuning_version);
  }
  constexpr auto members =
      std::to_array<std::string_view>({"format", "version", "backend", "device", "measured_with", "launches"});
  check_members(document, members, source, "");
  TuningFile file;
  file.backend = text_of(document, "backend", source);
  file.device = text_of(document, "device", source);
  file.measured_with = text_of(document, "measured_with", source);
  const nlohmann::json& launches = member_of(document, "launches", source);
  if (!launches.is_object()) fail(ErrorKind::input, "{}: the member 'launches' is not an object.", source);
  std::array<std::string_view, fields.size()> names;
  std::transform(fields.begin(), fields.end(), names.begin(), [](const TuningField& field) { return field.name; });
  check_members(launches, names, source, "launches.");
  for (const TuningField& field : fields) {
    const nlohmann::json& value = member_of(launches, field.name, source);
    const bool fits = value.is_number_integer() && (!value.is_number_unsigned() ||
                                                    value.get<std::uint64_t>() <= static_cast<std::uint64_t>(any_size));
    if (!fits) {
      fail(ErrorKind::input, "{}: '{}' is {}; valid are {}.", source, field.name, shown(value), valid_values(field));
    }
    file.tuning.*field.member = value.get<std::int64_t>();
  }
  check_tuning(file.tuning, source);
  return file;
}

void write_tuning(const std::filesystem::path& path, const TuningFile& file) {
  if (path.has_parent_path()) make_folders(path.parent_path());
  write_file(path, format_tuning(file));
}

TuningFile read_tuning(const std::filesystem::path& path) {
  return parse_tuning(read_file(path, largest_file), path.string());
}

}  // namespace mslt::msl
