// Checking which libraries are chosen for a device.
#include "backend/libraries.h"

#include <array>

#include "base/fail.h"
#include "base/suggest.h"

namespace mslt {
namespace {

void check_choice(std::string_view option, std::string_view choice, std::string_view library, std::string_view device) {
  const std::array<std::string_view, 3> names = {"auto", "msl", library};
  if (choice == "auto") return;
  if (choice != "msl" && choice != library) {
    fail(ErrorKind::usage, "{} {}: there is no such choice. Valid are auto, msl and {}.{}", option, choice, library,
         near_name_hint(choice, names));
  }
  if (choice == library && device != "cuda" && !device.starts_with("cuda:")) {
    fail(ErrorKind::usage, "{} {} is for the device cuda, but the device is {}; valid is {}.", option, choice, device,
         device == "cpu" ? "auto" : "auto or msl");
  }
  if (device == "cpu") {
    fail(ErrorKind::usage, "{} {} is for a GPU's kernels, but the device is cpu; name the GPU with --device.", option,
         choice);
  }
}

}  // namespace

void check_libraries(const LibraryChoice& choice, std::string_view device) {
  check_choice("--attention", choice.attention, "cudnn", device);
  check_choice("--products", choice.products, "cublas", device);
}

}  // namespace mslt
