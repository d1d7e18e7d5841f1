// INT4_G128: see grouped-int4.wgsl.
const GROUP = 128u;
#include "grouped-int4"
