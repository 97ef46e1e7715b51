// Libraries, functions and pipelines of the double.
#pragma once

#include <fmt/format.h>

#include "backend/msl/drivers/host/entry.h"
#include "backend/msl/kernel_info.h"
#include "tests/metal_double/double_object.h"

@interface MsltDoubleLibrary : MsltDoubleObject <MTLLibrary> {
  NSArray<NSString*>* names_;
}
- (instancetype)initWithDevice:(id<MTLDevice>)device names:(NSArray<NSString*>*)names;
@end

@interface MsltDoubleFunction : MsltDoubleObject <MTLFunction> {
  NSString* name_;
}
- (instancetype)initWithDevice:(id<MTLDevice>)device name:(NSString*)name;
@end

@interface MsltDoublePipeline : MsltDoubleObject <MTLComputePipelineState> {
  const mslt::msl::KernelInfo* info_;
  const mslt::msl::host::HostKernel* kernel_;
}
// Nil, with the error, if the double has no kernel with the function's name.
- (instancetype)initWithDevice:(id<MTLDevice>)device function:(id<MTLFunction>)function error:(NSError**)error;
- (const mslt::msl::KernelInfo*)info;
- (const mslt::msl::host::HostKernel*)kernel;
@end

namespace mslt::metal_double {

// As the methods of MTLDevice with these names.
id<MTLLibrary> compile(id<MTLDevice> device, NSString* source, MTLCompileOptions* options, NSError** error);
id<MTLLibrary> load(id<MTLDevice> device, NSURL* url, NSError** error);

// Puts an autoreleased error with this text into `error`, unless that is null.
void set_error(NSError** error, NSString* domain, NSInteger code, const std::string& text);

}  // namespace mslt::metal_double
