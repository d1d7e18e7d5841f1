// The recurrence over states of FORMAT, float16 or bfloat16, as state_update_*, state_replay_* and state_scan_* of state-space.cu.
#include "state-space.cuh"

#define JOINED_NAMES(NAME, OTHER) NAME##_##OTHER
#define JOINED(NAME, OTHER) JOINED_NAMES(NAME, OTHER)
#define OF_FORMAT(NAME) JOINED(NAME, FORMAT)

extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_update_64)(const StateSpaceParams p) { state_update<2, FORMAT, false>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_update_128)(const StateSpaceParams p) { state_update<4, FORMAT, false>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_update_256)(const StateSpaceParams p) { state_update<8, FORMAT, false>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_replay_64)(const StateSpaceParams p) { state_update<2, FORMAT, true>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_replay_128)(const StateSpaceParams p) { state_update<4, FORMAT, true>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_replay_256)(const StateSpaceParams p) { state_update<8, FORMAT, true>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_scan_64)(const StateSpaceParams p) { state_scan<2, FORMAT>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_scan_128)(const StateSpaceParams p) { state_scan<4, FORMAT>(p); }
extern "C" __global__ void __launch_bounds__(128) OF_FORMAT(short_scan_256)(const StateSpaceParams p) { state_scan<8, FORMAT>(p); }
