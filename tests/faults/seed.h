// The seed of a test's random choices, printed so that a failure can be repeated.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

namespace mslt::faults {

// MSLT_FAULTS_SEED, or another one each time.
inline std::mt19937 seeded() {
  const char* given = std::getenv("MSLT_FAULTS_SEED");
  const unsigned long seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  std::cout << "MSLT_FAULTS_SEED=" << seed << "\n";
  return std::mt19937(static_cast<std::mt19937::result_type>(seed));
}

}  // namespace mslt::faults
