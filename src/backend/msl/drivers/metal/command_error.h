// The message of a failed command buffer. Objective-C++ only.
#pragma once

#import <Foundation/Foundation.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mslt::msl::metal {

// The kernels in a command buffer, in the order of their first dispatch. Names must outlive it.
class KernelCounts {
 public:
  void add(std::string_view name);
  // The first `most` of them: "norm_forward_f32, matmul_forward_f32 (3 times)".
  std::string describe(std::size_t most = 16) const;

 private:
  std::vector<std::pair<std::string_view, std::uint32_t>> counts_;
};

// "A command buffer failed: out of memory (...). It held: ..."; explains Metal's error codes in words.
std::string describe_command_error(NSError* error, const KernelCounts& kernels);

}  // namespace mslt::msl::metal
