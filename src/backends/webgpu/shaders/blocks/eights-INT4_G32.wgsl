// INT4_G32: see grouped-int4.wgsl.
const GROUP = 32u;
#include "grouped-int4"
