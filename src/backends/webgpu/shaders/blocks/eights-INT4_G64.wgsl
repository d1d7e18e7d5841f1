// INT4_G64: see grouped-int4.wgsl.
const GROUP = 64u;
#include "grouped-int4"
