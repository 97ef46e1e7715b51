// What a command buffer that failed has to say. Objective-C++ only.
#pragma once

#import <Foundation/Foundation.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mslt::msl::metal {

// The kernels that a command buffer holds, in the order of their first dispatch. Names must outlive it.
class KernelCounts {
 public:
  void add(std::string_view name);
  // "norm_forward_f32, matmul_forward_f32 (3 times)", the first `most` of them.
  std::string describe(std::size_t most = 16) const;

 private:
  std::vector<std::pair<std::string_view, std::uint32_t>> counts_;
};

// "A command buffer failed: out of memory (...). It held: ..."; what Metal's error codes mean, in words.
std::string describe_command_error(NSError* error, const KernelCounts& kernels);

}  // namespace mslt::msl::metal
