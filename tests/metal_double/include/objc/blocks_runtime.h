// Where GNUstep's headers look for the blocks runtime; here it is libBlocksRuntime.
#pragma once

#include <Block.h>
