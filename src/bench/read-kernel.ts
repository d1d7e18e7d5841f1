import {
  BR_IF,
  END,
  functionModule,
  I32_ADD,
  I32_LT_U,
  i32Const,
  LOCAL_GET,
  LOCAL_SET,
  LOCAL_TEE,
  LOOP,
  simd,
  V128,
} from './wasm-encoding.ts';

/** Bytes of a region that one turn of the kernel's loop reads; a region is a multiple of it. */
export const READ_STRIDE = 64;

/** What the kernel exports. */
export interface ReadKernel {
  /**
   * Reads two regions of one size side by side, which keeps more of the memory's channels busy than one.
   * @param first where one begins, in bytes. @param second where the other begins. @param end of the first.
   * @returns a checksum that means nothing.
   */
  read(first: number, second: number, end: number): number;
}

const V128_LOAD = simd(0x00);
const V128_XOR = simd(0x51);
const I32X4_EXTRACT_LANE_0 = [...simd(0x1b), 0];

/**
 * The machine code of a WebAssembly module that only reads, as fast as memory gives: JavaScript's own loops are bound by
 * their arithmetic. In its text form, with one accumulator for each of the eight loads so that none waits for another:
 *
 *     (module
 *       (import "env" "memory" (memory 0))
 *       (func (export "read") (param $first i32) (param $second i32) (param $end i32) (result i32)
 *         (local $a0 v128) … (local $a7 v128)
 *         (loop
 *           (local.set $a0 (v128.xor (local.get $a0) (v128.load offset=0 (local.get $first))))
 *           …
 *           (local.set $a7 (v128.xor (local.get $a7) (v128.load offset=48 (local.get $second))))
 *           (local.set $second (i32.add (local.get $second) (i32.const 64)))
 *           (local.set $first (i32.add (local.get $first) (i32.const 64)))
 *           (br_if 0 (i32.lt_u (local.get $first) (local.get $end))))
 *         (i32x4.extract_lane 0 (v128.xor (local.get $a0) … (local.get $a7)))))
 */
export function readKernelModule(): Uint8Array<ArrayBuffer> {
  const [FIRST, SECOND, STOP] = [0, 1, 2];
  const accumulators = [FIRST, SECOND].flatMap((address, region) =>
    Array.from({ length: READ_STRIDE / 16 }, (_, i) => ({ local: 3 + region * 4 + i, address, offset: 16 * i })),
  );
  const loads = accumulators.flatMap(({ local, address, offset }) => [
    ...[LOCAL_GET, local, LOCAL_GET, address, ...V128_LOAD, 4, offset],
    ...[...V128_XOR, LOCAL_SET, local],
  ]);
  const advance = (address: number) => [LOCAL_GET, address, ...i32Const(READ_STRIDE), I32_ADD];
  const advanceBoth = [...advance(SECOND), LOCAL_SET, SECOND, ...advance(FIRST), LOCAL_TEE, FIRST];
  const loop = [...LOOP, ...loads, ...advanceBoth, LOCAL_GET, STOP, I32_LT_U, BR_IF, 0, END];
  const [start, ...rest] = accumulators;
  const result = [LOCAL_GET, start.local, ...rest.flatMap(({ local }) => [LOCAL_GET, local, ...V128_XOR])];
  return functionModule('read', 3, 1, [[accumulators.length, V128]], [...loop, ...result, ...I32X4_EXTRACT_LANE_0]);
}
