// Tests of which libraries may be chosen for which device.
#include "backend/libraries.h"

#include <gtest/gtest.h>

#include <string>

#include "backend/registry.h"
#include "mslt/error.h"

namespace mslt {
namespace {

std::string refusal(const LibraryChoice& choice, std::string_view device) {
  try {
    check_libraries(choice, device);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage) << error.what();
    return error.what();
  }
  return {};
}

TEST(Libraries, AreChosenByName) {
  EXPECT_EQ(refusal({}, "cpu"), "");
  EXPECT_EQ(refusal({}, "cuda"), "");
  EXPECT_EQ(refusal({.attention = "cudnn", .products = "cublas"}, "cuda"), "");
  EXPECT_EQ(refusal({.attention = "msl", .products = "msl"}, "cuda"), "");
  EXPECT_EQ(refusal({.attention = "msl", .products = "msl"}, "msl-host"), "");
  EXPECT_EQ(refusal({.attention = "cudn"}, "cuda"),
            "--attention cudn: there is no such choice. Valid are auto, msl and cudnn. Did you mean cudnn?");
  EXPECT_EQ(refusal({.products = "cudnn"}, "cuda"),
            "--products cudnn: there is no such choice. Valid are auto, msl and cublas.");
}

TEST(Libraries, AreThoseOfTheDevice) {
  EXPECT_EQ(refusal({.attention = "cudnn"}, "metal"),
            "--attention cudnn is for the device cuda, but the device is metal; valid is auto or msl.");
  EXPECT_EQ(refusal({.products = "cublas"}, "cpu"),
            "--products cublas is for the device cuda, but the device is cpu; valid is auto.");
  EXPECT_EQ(refusal({.products = "msl"}, "cpu"),
            "--products msl is for a GPU's kernels, but the device is cpu; name the GPU with --device.");
}

TEST(Libraries, AreCheckedBeforeABackendIsMade) {
  EXPECT_THROW(make_backend("cpu", "none", {.attention = "msl"}), Error);
  EXPECT_THROW(make_backend("msl-host", "none", {.attention = "cudnn"}), Error);
  EXPECT_NE(make_backend("cpu"), nullptr);
}

}  // namespace
}  // namespace mslt
