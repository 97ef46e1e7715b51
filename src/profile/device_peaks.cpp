// Measuring and storing the roofline.
#include "profile/device_peaks.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/cache_folder.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "base/paths.h"
#include "profile/bandwidth.h"
#include "profile/matmul_peak.h"

namespace mslt {
namespace {

constexpr std::string_view peaks_format = "mslt device peaks";
constexpr int peaks_version = 1;
constexpr std::uint64_t largest_peaks_file = 1 << 20;

double smallest_operation_seconds(Backend& backend) {
  const auto buffer = backend.allocate(64, "smallest operation");
  const Tensor one(*buffer, 0, DType::f32, Shape{1});
  std::array<double, 31> seconds;
  for (double& each : seconds) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<KernelTime> kernels = backend.time_kernels([&] { backend.run(Fill{.out = one, .value = 0.0f}); });
    each = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (kernels.empty()) continue;
    each = 0.0;
    for (const KernelTime& kernel : kernels) each += kernel.seconds;
  }
  std::ranges::nth_element(seconds, seconds.begin() + seconds.size() / 2);
  return seconds[seconds.size() / 2];
}

std::optional<nlohmann::json> read_peaks(const std::filesystem::path& file) {
  std::error_code missing;
  if (file.empty() || !std::filesystem::exists(file, missing)) return std::nullopt;
  try {
    nlohmann::json document = read_json_file(file, largest_peaks_file);
    if (!document.is_object() || document.value("format", nlohmann::json()) != peaks_format ||
        document.value("version", nlohmann::json()) != peaks_version || !document["peaks"].is_object()) {
      return std::nullopt;
    }
    return document;
  } catch (const Error&) {
    return std::nullopt;  // it is measured again
  }
}

}  // namespace

double DevicePeaks::seconds(const Work& work) const {
  const double memory = bandwidth > 0.0 ? work.bytes / bandwidth : 0.0;
  const double arithmetic = flops > 0.0 ? work.flops / flops : 0.0;
  return std::max(memory, arithmetic);
}

Bound DevicePeaks::bound(const Work& work) const {
  if (seconds(work) < dispatch_seconds) return Bound::dispatch;
  return work.flops * bandwidth > work.bytes * flops ? Bound::arithmetic : Bound::memory;
}

DevicePeaks measure_peaks(Backend& backend, DType dtype) {
  return {.flops = measure_matmul_peak(backend, dtype),
          .bandwidth = measure_bandwidth(backend),
          .dispatch_seconds = smallest_operation_seconds(backend)};
}

std::filesystem::path stored_peaks_file(const DeviceInfo& device) {
  const std::filesystem::path cache = cache_folder();
  if (cache.empty()) return cache;
  return cache / "mslt" / "peaks" /
         fmt::format("{}-{}-{}.json", file_part(device.backend), file_part(device.name), device.compute_units);
}

std::optional<DevicePeaks> load_peaks(const std::filesystem::path& file, DType dtype) {
  const std::optional<nlohmann::json> document = read_peaks(file);
  if (!document) return std::nullopt;
  const nlohmann::json& all = document->at("peaks");
  const auto found = all.find(std::string(name_of(dtype)));
  if (found == all.end() || !found->is_object()) return std::nullopt;
  const auto number = [&](const char* name) {
    const auto member = found->find(name);
    return member != found->end() && member->is_number() ? member->get<double>() : 0.0;
  };
  const DevicePeaks peaks = {.flops = number("flops_per_second"),
                             .bandwidth = number("bytes_per_second"),
                             .dispatch_seconds = number("dispatch_seconds")};
  if (!(peaks.flops > 0.0) || !(peaks.bandwidth > 0.0) || !(peaks.dispatch_seconds >= 0.0)) return std::nullopt;
  return peaks;
}

void store_peaks(const std::filesystem::path& file, const DeviceInfo& device, DType dtype, const DevicePeaks& peaks) {
  nlohmann::json document = read_peaks(file).value_or(
      nlohmann::json{{"format", peaks_format}, {"version", peaks_version}, {"peaks", nlohmann::json::object()}});
  document["backend"] = device.backend;
  document["device"] = device.name;
  document["compute_units"] = device.compute_units;
  document["peaks"][std::string(name_of(dtype))] = {{"flops_per_second", peaks.flops},
                                                    {"bytes_per_second", peaks.bandwidth},
                                                    {"dispatch_seconds", peaks.dispatch_seconds}};
  make_folders(file.parent_path());
  write_file(file, document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

DevicePeaks device_peaks(Backend& backend, DType dtype, bool again) {
  if (!again) {
    const std::optional<DevicePeaks> stored = load_peaks(stored_peaks_file(backend.device()), dtype);
    if (stored) return *stored;
  }
  return keep_better_peaks(backend.device(), dtype, measure_peaks(backend, dtype));
}

DevicePeaks keep_better_peaks(const DeviceInfo& device, DType dtype, const DevicePeaks& measured) {
  const std::filesystem::path file = stored_peaks_file(device);
  DevicePeaks peaks = measured;
  if (const std::optional<DevicePeaks> stored = load_peaks(file, dtype)) {
    peaks = {.flops = std::max(peaks.flops, stored->flops),
             .bandwidth = std::max(peaks.bandwidth, stored->bandwidth),
             .dispatch_seconds = std::min(peaks.dispatch_seconds, stored->dispatch_seconds)};
  }
  if (file.empty()) return peaks;
  try {
    store_peaks(file, device, dtype, peaks);
  } catch (const Error&) {
    return peaks;  // they are found again next time
  }
  return peaks;
}

}  // namespace mslt
