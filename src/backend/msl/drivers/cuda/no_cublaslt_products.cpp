// What takes the place of the products by cuBLASLt in builds without it.
#include "backend/msl/drivers/cuda/cublaslt_products.h"
#include "base/fail.h"

namespace mslt::msl::cuda {
namespace {

constexpr char absent[] = "This build of mslt has no cuBLASLt.";

}  // namespace

struct CublasLtProducts::State {};

int alignment_of(const ProductOperands& /*operands*/) {
  return 1;
}

bool CublasLtProducts::available() {
  return false;
}

std::string CublasLtProducts::version() {
  return {};
}

CublasLtProducts::CublasLtProducts(const ProductOptions& /*options*/) {}

CublasLtProducts::~CublasLtProducts() = default;

std::string CublasLtProducts::refusal(const Product& /*product*/) {
  return absent;
}

ProductPlan CublasLtProducts::plan(const Product& /*product*/) {
  fail(ErrorKind::device, "{}", absent);
}

void CublasLtProducts::run(const Product& /*product*/, const ProductOperands& /*operands*/, void* /*workspace*/,
                           cudaStream_t /*stream*/) {
  fail(ErrorKind::device, "{}", absent);
}

}  // namespace mslt::msl::cuda
