// Queries macOS's device registry, where the GPU of a Mac with Apple silicon lists its properties.
#include "backend/msl/drivers/metal/gpu_cores.h"

#import <CoreFoundation/CoreFoundation.h>
#import <IOKit/IOKitLib.h>

namespace mslt::msl::metal {

int gpu_core_count() {
  const io_service_t gpu = IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("AGXAccelerator"));
  if (gpu == IO_OBJECT_NULL) return 0;
  int count = 0;
  if (CFTypeRef cores = IORegistryEntryCreateCFProperty(gpu, CFSTR("gpu-core-count"), kCFAllocatorDefault, 0)) {
    if (CFGetTypeID(cores) == CFNumberGetTypeID()) {
      CFNumberGetValue(static_cast<CFNumberRef>(cores), kCFNumberIntType, &count);
    }
    CFRelease(cores);
  }
  IOObjectRelease(gpu);
  return count;
}

}  // namespace mslt::msl::metal
