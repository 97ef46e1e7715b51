// What a device reaches at best, measured once and stored for the next time.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "profile/predict.h"

namespace mslt {

// The roofline of a device for one element type (Williams, Waterman and Patterson, 2009).
struct DevicePeaks {
  double flops = 0.0;             // per second, of a large product
  double bandwidth = 0.0;         // bytes per second, of a large copy
  double dispatch_seconds = 0.0;  // that the smallest operation takes

  // The least time of this work.
  double seconds(const Work& work) const;
  // What sets that time; dispatch where the smallest operation takes longer.
  Bound bound(const Work& work) const;
};

// Takes about a second.
DevicePeaks measure_peaks(Backend& backend, DType dtype);

// Where the peaks of a device are stored: mslt/peaks/BACKEND-DEVICE-UNITS.json in the user's cache folder; empty if
// there is none. UNITS are the threads of a CPU.
std::filesystem::path stored_peaks_file(const DeviceInfo& device);

// From that file; absent where it does not exist, is of another form, or holds no peaks for `dtype`.
std::optional<DevicePeaks> load_peaks(const std::filesystem::path& file, DType dtype);
// Adds to the file or replaces what it has for `dtype`. Throws Error(io).
void store_peaks(const std::filesystem::path& file, const DeviceInfo& device, DType dtype, const DevicePeaks& peaks);

// The better of these peaks and the stored ones in each respect, which it stores: what a device reaches beside other
// work is no peak. Not being able to store them is no error.
DevicePeaks keep_better_peaks(const DeviceInfo& device, DType dtype, const DevicePeaks& peaks);

// The stored peaks, or measured ones, which it stores. Where `again` is true, it measures and keeps the better of both.
DevicePeaks device_peaks(Backend& backend, DType dtype, bool again = false);

}  // namespace mslt
